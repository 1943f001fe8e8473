//! Profiles from `sift.toml`, as Sift's own tools keep them, and bounded reading of small files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::api_key::ApiKey;
use super::connect_error::ConnectError;

/// A profile file is a few lines; anything near this size is something else.
const MAX_PROFILE_FILE_BYTES: usize = 1024 * 1024;

/// `grpc_uri` comes first: where both stand, `uri` is the REST endpoint.
const URI_KEYS: [&str; 2] = ["grpc_uri", "uri"];
const API_KEY_KEYS: [&str; 2] = ["api_key", "apikey"];

/// What one table of the profile file says.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) uri: Option<String>,
    pub(super) api_key: Option<ApiKey>,
}

/// Where Sift's tools keep profiles, if this system has such a place.
pub(super) fn default_path() -> Option<PathBuf> {
    dirs::config_local_dir().map(|directory| directory.join("sift.toml"))
}

impl Profile {
    /// Reads the table `name`, or the top level if there is no name.
    pub(super) fn load(path: &Path, name: Option<&str>) -> Result<Profile, ConnectError> {
        let bytes = read_bounded("profile file", path, MAX_PROFILE_FILE_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| invalid(path, "it is not text"))?;
        let file = text.parse::<Table>().map_err(|error| {
            // The parser's own Display quotes the offending line, which may hold the key.
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            invalid(path, format!("line {line} is not valid TOML"))
        })?;
        let table = match name {
            None => &file,
            Some(name) => match file.get(name) {
                Some(Value::Table(table)) => table,
                _ => {
                    return Err(ConnectError::UnknownProfile {
                        profile: name.to_owned(),
                        path: path.to_owned(),
                        known: names(&file),
                    });
                }
            },
        };
        let origin = match name {
            None => path.display().to_string(),
            Some(name) => format!("profile {name:?} of {}", path.display()),
        };
        Ok(Profile {
            uri: lookup(path, table, &URI_KEYS)?.map(str::to_owned),
            api_key: lookup(path, table, &API_KEY_KEYS)?.map(|key| ApiKey::new(key, origin)).transpose()?,
        })
    }
}

/// The first of `keys` that the table sets to something.
fn lookup<'a>(path: &Path, table: &'a Table, keys: &[&str]) -> Result<Option<&'a str>, ConnectError> {
    for key in keys {
        match table.get(*key) {
            None => {}
            Some(Value::String(value)) if value.trim().is_empty() => {}
            Some(Value::String(value)) => return Ok(Some(value)),
            Some(_) => return Err(invalid(path, format!("{key} is not a string"))),
        }
    }
    Ok(None)
}

fn names(file: &Table) -> Vec<String> {
    file.iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name.clone()).collect()
}

fn invalid(path: &Path, problem: impl Into<String>) -> ConnectError {
    ConnectError::InvalidFile { what: "profile file", path: path.to_owned(), problem: problem.into() }
}

/// Reads a whole file that must not be larger than `limit` bytes.
pub(super) fn read_bounded(what: &'static str, path: &Path, limit: usize) -> Result<Vec<u8>, ConnectError> {
    let failed = |source| ConnectError::ReadFile { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > limit {
        return Err(ConnectError::InvalidFile {
            what,
            path: path.to_owned(),
            problem: format!("it is larger than {limit} bytes"),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, name: Option<&str>) -> Result<Profile, ConnectError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sift.toml");
        std::fs::write(&path, text).unwrap();
        Profile::load(&path, name)
    }

    fn key(text: &str) -> Option<ApiKey> {
        Some(ApiKey::new(text, "test").unwrap())
    }

    #[test]
    fn both_spellings_of_each_key_are_read_and_the_newer_wins() {
        let cases = [
            ("grpc_uri = 'https://g'\napikey = 'a1'", "https://g", "a1"),
            ("uri = 'https://u'\napi_key = 'a2'", "https://u", "a2"),
            ("uri = 'https://rest'\ngrpc_uri = 'https://g'\napikey = 'old'\napi_key = 'new'", "https://g", "new"),
            ("grpc_uri = ''\nuri = 'https://u'\napikey = 'a'", "https://u", "a"),
        ];
        for (text, uri, api_key) in cases {
            let top = load(text, None).unwrap();
            assert_eq!(top.uri.as_deref(), Some(uri));
            assert_eq!(top.api_key, key(api_key));
            let named = load(&format!("uri = 'https://other'\n[rig]\n{text}"), Some("rig")).unwrap();
            assert_eq!(named.uri.as_deref(), Some(uri));
            assert_eq!(named.api_key, key(api_key));
        }
    }

    #[test]
    fn an_unknown_profile_is_told_with_those_that_exist() {
        let message = load("[rig]\nuri='https://a'\n[stand]\n", Some("rag")).unwrap_err().to_string();
        assert!(message.contains("\"rag\""), "{message}");
        assert!(message.contains("rig") && message.contains("stand"), "{message}");
    }

    #[test]
    fn a_broken_file_is_told_by_line_without_showing_what_it_holds() {
        let message = load("uri = 'https://a'\napi_key = s3cret\n", None).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");

        let message = load("api_key = 5", None).unwrap_err().to_string();
        assert!(message.contains("api_key is not a string"), "{message}");
    }
}
