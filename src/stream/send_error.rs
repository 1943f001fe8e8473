//! Why something wasn't sent: it always comes back to the caller, unless it could not be encoded.

use crate::record::RecordError;

/// The stream is closed; what wasn't sent is inside.
#[derive(Debug, thiserror::Error)]
#[error("the stream is closed, and what was given is not sent: it is handed back here; make another stream for it")]
pub struct SendError<T>(pub T);

impl<T> SendError<T> {
    /// What wasn't sent.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// What can't be sent at once; it is inside.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError<T> {
    /// The stream is closed.
    #[error("the stream is closed, and what was given is not sent: it is handed back here; make another stream for it")]
    Closed(T),
    /// All room is taken: the link or the disk is slower than what is sent.
    #[error(
        "the stream has no room, and what was given is not sent: it is handed back here; send it again, or use `send`, which waits"
    )]
    Full(T),
}

impl<T> TrySendError<T> {
    /// What wasn't sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(given) | Self::Full(given) => given,
        }
    }

    /// Whether the stream is closed: it won't take anything any more.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether there was no room: there will be some.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

/// Why a message wasn't sent.
#[derive(Debug, thiserror::Error)]
pub enum SiftStreamSendError<T> {
    /// It doesn't fit the flow: the error names flow, channel and types. Nothing of it was sent.
    #[error(transparent)]
    EncodeError(#[from] RecordError),
    /// The stream is closed; the message is inside.
    #[error("the stream is closed, and what was given is not sent: it is handed back here; make another stream for it")]
    ChannelClosed(T),
}

impl<T> From<SendError<T>> for SiftStreamSendError<T> {
    fn from(error: SendError<T>) -> Self {
        Self::ChannelClosed(error.0)
    }
}

/// Why a message wasn't sent at once.
#[derive(Debug, thiserror::Error)]
pub enum SiftStreamTrySendError<T> {
    /// It doesn't fit the flow: the error names flow, channel and types. Nothing of it was sent.
    #[error(transparent)]
    EncodeError(#[from] RecordError),
    /// There is no room, or the stream is closed; the message is inside.
    #[error("{0}")]
    Channel(TrySendError<T>),
}

impl<T> From<TrySendError<T>> for SiftStreamTrySendError<T> {
    fn from(error: TrySendError<T>) -> Self {
        Self::Channel(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// Neither `Display` nor `Clone`, and borrows: nothing more is asked of what is sent.
    #[derive(Debug, PartialEq)]
    struct Message<'a>(&'a str);

    fn told<'a>(error: impl Error + 'a) -> String {
        error.to_string()
    }

    #[test]
    fn what_was_not_sent_comes_back() {
        let text = "mine".to_owned();
        assert_eq!(SendError(Message(&text)).into_inner(), Message("mine"));
        assert_eq!(TrySendError::Full(Message(&text)).into_inner(), Message("mine"));
        assert_eq!(TrySendError::Closed(Message(&text)).into_inner(), Message("mine"));
        let error = SiftStreamSendError::from(SendError(Message(&text)));
        assert!(matches!(error, SiftStreamSendError::ChannelClosed(Message("mine"))));
        let error = SiftStreamTrySendError::from(TrySendError::Full(Message(&text)));
        assert!(matches!(error, SiftStreamTrySendError::Channel(TrySendError::Full(Message("mine")))));
    }

    #[test]
    fn full_is_not_closed() {
        let (full, closed) = (TrySendError::Full(1), TrySendError::Closed(1));
        assert!(full.is_full() && !full.is_closed());
        assert!(closed.is_closed() && !closed.is_full());
    }

    #[test]
    fn errors_say_what_happened_and_what_to_do() {
        let text = "borrowed".to_owned();
        let message = || Message(&text);
        let closed =
            "the stream is closed, and what was given is not sent: it is handed back here; make another stream for it";
        assert_eq!(told(SendError(message())), closed);
        assert_eq!(told(TrySendError::Closed(message())), closed);
        assert_eq!(told(SiftStreamSendError::ChannelClosed(message())), closed);
        assert_eq!(told(SiftStreamTrySendError::Channel(TrySendError::Closed(message()))), closed);
        let full = "the stream has no room, and what was given is not sent: it is handed back here; send it again, or use `send`, which waits";
        assert_eq!(told(TrySendError::Full(message())), full);
        assert_eq!(told(SiftStreamTrySendError::Channel(TrySendError::Full(message()))), full);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let unknown = || RecordError::UnknownFlow { flow: "weels".to_owned() };
        let text = "unknown flow \"weels\": add it to the schema, or while recording with `add_flow` (a stream's: `add_new_flows`)";
        assert_eq!(told(SiftStreamSendError::<Message<'_>>::from(unknown())), text);
        assert_eq!(told(SiftStreamTrySendError::<Message<'_>>::from(unknown())), text);
    }
}
