//! From options to a destination.

use std::path::{Path, PathBuf};

use crate::sift::{ApiKey, ConnectError, ConnectErrorKind, Destination, DestinationOptions};

/// A directory with a `sift.toml`, and options that look there.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new(profiles: &str) -> Home {
        let home = Home { directory: tempfile::tempdir().unwrap() };
        home.write("sift.toml", profiles);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn options(&self) -> DestinationOptions {
        DestinationOptions { profile_file: Some(self.path("sift.toml")), ..DestinationOptions::default() }
    }
}

const PROFILES: &str = "
    grpc_uri = 'https://default.example.com'
    apikey = 'default-key'
    [rig]
    uri = 'https://rig.example.com:8443'
    api_key = 'rig-key'
    [keyless]
    uri = 'https://keyless.example.com'
    [empty]
";

fn key(text: &str) -> ApiKey {
    ApiKey::new(text, "test").unwrap()
}

fn usage_error(options: &DestinationOptions) -> String {
    let error = Destination::resolve(options).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Usage, "{error}");
    error.to_string()
}

#[test]
fn the_default_profile_is_used_when_nothing_else_is_said() {
    let destination = Destination::resolve(&Home::new(PROFILES).options()).unwrap();
    assert_eq!(destination.name(), "https://default.example.com:443");
    assert_eq!(destination.api_key, Some(key("default-key")));
}

#[test]
fn a_named_profile_gives_uri_and_key() {
    let mut options = Home::new(PROFILES).options();
    options.profile = Some("rig".into());
    // Kept alive: the options point into it.
    let home = Home::new(PROFILES);
    options.profile_file = Some(home.path("sift.toml"));
    let destination = Destination::resolve(&options).unwrap();
    assert_eq!(destination.name(), "https://rig.example.com:8443");
    assert_eq!(destination.api_key, Some(key("rig-key")));
}

#[test]
fn an_explicit_uri_wins_over_the_profile() {
    let home = Home::new(PROFILES);
    let mut options = home.options();
    options.profile = Some("rig".into());
    options.uri = Some("https://other.example.com".into());
    let destination = Destination::resolve(&options).unwrap();
    assert_eq!(destination.name(), "https://other.example.com:443");
    assert_eq!(destination.api_key, Some(key("rig-key")));
}

#[test]
fn the_default_profiles_key_never_goes_to_an_explicit_uri() {
    let home = Home::new(PROFILES);
    let mut options = home.options();
    options.uri = Some("https://other.example.com".into());
    let message = usage_error(&options);
    assert!(message.contains("SIFT_API_KEY"), "{message}");
    assert!(message.contains("--api-key-file"), "{message}");
    options.uri = Some("http://127.0.0.1:50051".into());
    assert!(!Destination::resolve(&options).unwrap().has_api_key());
}

#[test]
fn a_key_file_wins_over_the_environment_and_that_over_the_profile() {
    let home = Home::new(PROFILES);
    let mut options = home.options();
    options.api_key = Some(key("env-key"));
    let destination = Destination::resolve(&options).unwrap();
    assert_eq!(destination.api_key, Some(key("env-key")));

    options.api_key_file = Some(home.write("key", "file-key\n"));
    let destination = Destination::resolve(&options).unwrap();
    assert_eq!(destination.api_key, Some(key("file-key")));

    options.api_key_file = Some(home.write("key", "\n"));
    let message = usage_error(&options);
    assert!(message.contains("empty"), "a bad file is no reason to fall back: {message}");
}

#[test]
fn without_any_destination_the_error_names_the_three_ways() {
    let home = Home::new("");
    let mut options = home.options();
    options.profile_file = Some(home.path("none.toml"));
    let message = usage_error(&options);
    for way in ["--uri", "SIFT_URI", "--profile", "grpc_uri", "none.toml"] {
        assert!(message.contains(way), "{way}: {message}");
    }
}

#[test]
fn incomplete_profiles_say_what_is_missing() {
    let home = Home::new(PROFILES);
    let mut options = home.options();
    for (profile, missing) in
        [("empty", "grpc_uri"), ("keyless", "no API key"), ("absent", "has no profile"), ("apikey", "has no profile")]
    {
        options.profile = Some(profile.into());
        let message = usage_error(&options);
        assert!(message.contains(missing), "{profile}: {message}");
        assert!(!message.contains("default-key"), "{message}");
    }
    let home = Home::new("[rig]\nuri = 'https://a.example'");
    let message = usage_error(&home.options());
    assert!(message.contains("top level"), "{message}");
}

#[test]
fn plain_http_leaves_this_machine_only_when_told_so() {
    let mut options = DestinationOptions {
        uri: Some("http://10.1.2.3:50051".into()),
        api_key: Some(key("k")),
        ..DestinationOptions::default()
    };
    let message = usage_error(&options);
    assert!(message.contains("--insecure"), "{message}");
    options.insecure = true;
    assert_eq!(Destination::resolve(&options).unwrap().name(), "http://10.1.2.3:50051");
    options.insecure = false;
    for loopback in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        options.uri = Some(loopback.into());
        assert_eq!(Destination::resolve(&options).unwrap().name(), loopback);
    }
}

#[test]
fn only_loopback_does_without_a_key() {
    let mut options = DestinationOptions { uri: Some("https://example.com".into()), ..DestinationOptions::default() };
    assert!(matches!(Destination::resolve(&options), Err(ConnectError::MissingKey { .. })));
    options.uri = Some("http://localhost:50051".into());
    assert!(!Destination::resolve(&options).unwrap().has_api_key());
}

#[test]
fn certificate_options_that_would_have_no_effect_are_refused() {
    let home = Home::new("");
    let cert = home.write("cert.pem", "-----BEGIN CERTIFICATE-----\n");
    let private = home.write("key.pem", "-----BEGIN PRIVATE KEY-----\n");
    let secure = |ca: Option<&Path>, cert: Option<&Path>, key_file: Option<&Path>, uri: &str| DestinationOptions {
        uri: Some(uri.into()),
        api_key: Some(key("k")),
        ca_cert: ca.map(Path::to_owned),
        client_cert: cert.map(Path::to_owned),
        client_key: key_file.map(Path::to_owned),
        ..DestinationOptions::default()
    };
    let https = "https://example.com";
    for (options, problem) in [
        (secure(Some(&cert), None, None, "http://127.0.0.1:1"), "plain http"),
        (secure(None, Some(&cert), None, https), "go together"),
        (secure(None, None, Some(&private), https), "go together"),
        (secure(Some(&private), None, None, https), "CA certificate"),
        (secure(None, Some(&cert), Some(&cert), https), "client key"),
        (secure(Some(&home.path("no.pem")), None, None, https), "no.pem"),
    ] {
        let message = usage_error(&options);
        assert!(message.contains(problem), "{message}");
    }
    let options = secure(Some(&cert), Some(&cert), Some(&private), https);
    assert!(Destination::resolve(&options).is_ok());
}

#[test]
fn no_debug_output_shows_the_key() {
    let home = Home::new(PROFILES);
    let mut options = home.options();
    options.api_key = Some(key("env-key"));
    let destination = Destination::resolve(&options).unwrap();
    for shown in [format!("{options:#?}"), format!("{destination:#?}")] {
        assert!(!shown.contains("env-key"), "{shown}");
    }
}
