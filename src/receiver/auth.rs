//! Who may call: everybody, or those who know the API key.

use super::error::ReceiverError;
use http::{HeaderMap, header::AUTHORIZATION};
use std::fmt;
use tonic::Status;

/// Checks the API key of calls, as Sift's clients send it: `authorization: Bearer KEY`.
#[derive(Clone)]
pub(super) struct Auth {
    expected: Option<Box<[u8]>>,
}

/// Never shows the key.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = self.expected.is_some();
        f.debug_struct("Auth").field("required", &required).finish()
    }
}

impl Auth {
    /// Without a key, everybody may call.
    pub(super) fn new(api_key: Option<&str>) -> Result<Self, ReceiverError> {
        let expected = match api_key {
            Some(key) if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(ReceiverError::ApiKey);
            }
            key => key.map(|key| key.as_bytes().into()),
        };
        Ok(Self { expected })
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        let given = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let given = given.and_then(|given| {
            let (scheme, key) = given.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
        });
        if given.is_some_and(|given| same(given, expected)) {
            Ok(())
        } else {
            Err(Status::unauthenticated(
                "this receiver asks for an API key; send the right one as `authorization: Bearer KEY`",
            ))
        }
    }
}

/// Compares without telling by its duration where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |found, (a, b)| found | (a ^ b));
    a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(auth: &Auth, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        auth.check(&headers).is_ok()
    }

    #[test]
    fn only_the_right_key_opens() {
        let auth = Auth::new(Some("secret")).unwrap();
        assert!(check(&auth, Some("Bearer secret")));
        assert!(check(&auth, Some("bearer secret")));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "secret", "Basic secret"] {
            assert!(!check(&auth, Some(wrong)), "{wrong}");
        }
        assert!(!check(&auth, None));
    }

    #[test]
    fn without_a_key_everybody_may_call() {
        let auth = Auth::new(None).unwrap();
        assert!(check(&auth, None));
        assert!(check(&auth, Some("Bearer whatever")));
    }

    #[test]
    fn the_key_is_neither_shown_nor_empty() {
        let auth = Auth::new(Some("secret")).unwrap();
        assert!(!format!("{auth:?}").contains("secret"));
        assert!(matches!(Auth::new(Some("")), Err(ReceiverError::ApiKey)));
        assert!(matches!(Auth::new(Some("a b")), Err(ReceiverError::ApiKey)));
    }
}
