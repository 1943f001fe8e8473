//! The API key as a type, so that no formatting can ever show it.

use std::fmt;
use std::path::Path;

use http::HeaderValue;

use super::connect_error::ConnectError;
use super::profile::read_bounded;

/// No real key is near this long; a file that is longer is not a key file.
const MAX_KEY_BYTES: usize = 4096;

/// A Sift API key. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key as it was found, without surrounding white space.
    ///
    /// `origin` says where it was found ("SIFT_API_KEY", a path, …) and appears in the error.
    ///
    /// # Errors
    ///
    /// [`ConnectError::InvalidKey`] if it is empty, has several lines, or holds anything but visible
    /// ASCII: it could not travel in an HTTP header.
    pub fn new(text: &str, origin: impl Into<String>) -> Result<ApiKey, ConnectError> {
        let key = text.trim();
        let problem = if key.is_empty() {
            "it is empty"
        } else if key.len() > MAX_KEY_BYTES {
            "it is longer than 4096 bytes"
        } else if key.contains(['\n', '\r']) {
            "it has more than one line"
        } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            "it has spaces, control characters or characters outside ASCII"
        } else {
            return Ok(ApiKey(key.to_owned()));
        };
        Err(ConnectError::InvalidKey { origin: origin.into(), problem })
    }

    /// Reads the key from a file that holds nothing else.
    ///
    /// # Errors
    ///
    /// [`ConnectError::ReadFile`] or [`ConnectError::InvalidFile`] if it can't be read,
    /// [`ConnectError::InvalidKey`] if what it holds is no key.
    pub fn from_file(path: &Path) -> Result<ApiKey, ConnectError> {
        let origin = path.display().to_string();
        let bytes = read_bounded("API key file", path, 2 * MAX_KEY_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ConnectError::InvalidKey { origin: origin.clone(), problem: "it is not text" })?;
        ApiKey::new(&text, origin)
    }

    /// The value of the `authorization` header, marked so that no HTTP library logs or indexes it.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        // `new` admits nothing that a header value could refuse.
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_formatting_shows_the_key() {
        let key = ApiKey::new("s3cret-key", "test").unwrap();
        for shown in
            [format!("{key:?}"), format!("{key:#?}"), format!("{key}"), format!("{:?}", key.authorization().unwrap())]
        {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        assert_eq!(key.authorization().unwrap().as_bytes(), b"Bearer s3cret-key");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for (text, problem) in [
            ("", "empty"),
            (" \n", "empty"),
            ("one\ntwo", "more than one line"),
            ("one two", "spaces"),
            ("schlüssel", "outside ASCII"),
            ("a\u{7f}b", "control"),
            (long.as_str(), "longer"),
        ] {
            let message = ApiKey::new(text, "SIFT_API_KEY").unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
            assert!(message.contains("SIFT_API_KEY"), "{message}");
            assert!(text.trim().is_empty() || !message.contains(text.trim()), "{message}");
        }
    }

    #[test]
    fn a_key_file_is_trimmed_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "  abc123\r\n").unwrap();
        assert_eq!(ApiKey::from_file(&path).unwrap(), ApiKey("abc123".into()));

        std::fs::write(&path, vec![b'k'; 100_000]).unwrap();
        assert!(matches!(ApiKey::from_file(&path), Err(ConnectError::InvalidFile { .. })));

        std::fs::write(&path, [0xff, 0xfe, 0x41]).unwrap();
        assert!(matches!(ApiKey::from_file(&path), Err(ConnectError::InvalidKey { .. })));

        let missing = directory.path().join("none");
        let message = ApiKey::from_file(&missing).unwrap_err().to_string();
        assert!(message.contains("none"), "{message}");
    }
}
