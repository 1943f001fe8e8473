//! Where to send and as whom: options in, a [`Destination`] out. Nothing is connected yet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::api_key::ApiKey;
use super::connect_error::ConnectError;
use super::profile::{Profile, default_path, read_bounded};
use super::uri::Address;

/// Certificates and keys are a few KiB; a bundle of all public roots is about 300 KiB.
const MAX_PEM_BYTES: usize = 4 * 1024 * 1024;

/// How long to wait for a destination before taking it for failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For resolving, connecting, the TLS handshake and the first ping together. Default 10 s.
    pub connect: Duration,
    /// For each request that isn't an ingest stream. Default 30 s.
    pub request: Duration,
    /// For a destination that accepts an ingest stream but takes none of its bytes. Default 60 s.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), request: Duration::from_secs(30), stall: Duration::from_secs(60) }
    }
}

/// What a user says about the destination; [`Destination::resolve`] makes one of it.
#[derive(Clone, Debug, Default)]
pub struct DestinationOptions {
    /// `https://host[:port]`, or `http://host[:port]` on loopback. Wins over the profile's.
    pub uri: Option<String>,
    /// The key from the environment (`SIFT_API_KEY`). Wins over the profile's.
    pub api_key: Option<ApiKey>,
    /// A file with the key and nothing else. Wins over `api_key`: it was asked for, an environment
    /// variable may have been lying about.
    pub api_key_file: Option<PathBuf>,
    /// The table of `sift.toml` to use. `None`: the top level, if no `uri` is given either.
    pub profile: Option<String>,
    /// Where `sift.toml` is. `None`: in the user's configuration directory.
    pub profile_file: Option<PathBuf>,
    /// PEM file of certificate authorities to trust besides the system's and the bundled ones.
    pub ca_cert: Option<PathBuf>,
    /// PEM file of the certificate to show to the server; needs `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM file of the private key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// Allow plain `http` to other machines. The key and the data can be read on the way.
    pub insecure: bool,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// The PEM texts that TLS needs beyond the trusted roots.
#[derive(Clone, Default)]
pub(super) struct TlsFiles {
    pub(super) ca_cert: Option<Vec<u8>>,
    /// Certificate and private key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A place to send to, with what is needed to be let in.
#[derive(Clone)]
pub struct Destination {
    pub(super) address: Address,
    pub(super) api_key: Option<ApiKey>,
    pub(super) tls: TlsFiles,
    pub(super) timeouts: Timeouts,
    name: String,
}

impl Destination {
    /// Decides where to send and as whom, reading the files that the options name.
    ///
    /// A profile's key is used only if the profile was named or gave the URI: a key is never sent to
    /// a place that it wasn't kept for.
    ///
    /// # Errors
    ///
    /// Any [`ConnectError`] of kind [`Usage`](super::ConnectErrorKind::Usage); nothing has been sent.
    pub fn resolve(options: &DestinationOptions) -> Result<Destination, ConnectError> {
        let profile = profile(options)?;
        let (profile_uri, profile_key) = match profile {
            Some(profile) => (profile.uri, profile.api_key),
            None => (None, None),
        };
        let uri = match (&options.uri, profile_uri) {
            (Some(uri), _) => uri.clone(),
            (None, Some(uri)) => uri,
            (None, None) => {
                return Err(ConnectError::IncompleteProfile {
                    profile: options.profile.clone(),
                    path: profile_path(options).unwrap_or_default(),
                });
            }
        };
        let address = Address::parse(&uri)?;
        let name = address.name();
        if !address.tls && !address.is_loopback() && !options.insecure {
            return Err(ConnectError::PlainTextRefused { name });
        }
        let api_key = match &options.api_key_file {
            Some(path) => Some(ApiKey::from_file(path)?),
            None => options.api_key.clone().or(profile_key),
        };
        if api_key.is_none() && !address.is_loopback() {
            return Err(ConnectError::MissingKey { name });
        }
        let tls = tls_files(options, address.tls)?;
        Ok(Destination { address, api_key, tls, timeouts: options.timeouts, name })
    }

    /// The [`name`](Self::name) of the destination that has this URI.
    ///
    /// # Errors
    /// [`ConnectError::InvalidUri`].
    pub fn name_of(uri: &str) -> Result<String, ConnectError> {
        Ok(Address::parse(uri)?.name())
    }

    /// `scheme://host:port`: the same for the same destination, however it was spelled, and without
    /// secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a key will be sent along.
    pub fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("name", &self.name)
            .field("has_api_key", &self.has_api_key())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

fn profile_path(options: &DestinationOptions) -> Option<PathBuf> {
    options.profile_file.clone().or_else(default_path)
}

/// The profile that the options ask for, or fall back to; `None` if the URI makes it unneeded.
fn profile(options: &DestinationOptions) -> Result<Option<Profile>, ConnectError> {
    let path = profile_path(options);
    match (&options.profile, &options.uri, path) {
        (None, Some(_), _) => Ok(None),
        (Some(name), _, Some(path)) => Profile::load(&path, Some(name)).map(Some),
        (Some(_), _, None) => Err(ConnectError::InvalidOptions {
            problem: "a profile was asked for, but this user has no configuration directory",
        }),
        (None, None, Some(path)) if path.exists() => Profile::load(&path, None).map(Some),
        (None, None, path) => {
            Err(ConnectError::NoDestination { profile_file: path.unwrap_or_else(|| PathBuf::from("sift.toml")) })
        }
    }
}

fn tls_files(options: &DestinationOptions, tls: bool) -> Result<TlsFiles, ConnectError> {
    let asked = options.ca_cert.is_some() || options.client_cert.is_some() || options.client_key.is_some();
    if asked && !tls {
        return Err(ConnectError::InvalidOptions {
            problem: "certificates were given, but the URI is plain http; use https",
        });
    }
    let ca_cert = options.ca_cert.as_deref().map(|path| pem("CA certificate", path, "CERTIFICATE-----")).transpose()?;
    let identity = match (&options.client_cert, &options.client_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => {
            Some((pem("client certificate", cert, "CERTIFICATE-----")?, pem("client key", key, "PRIVATE KEY-----")?))
        }
        _ => {
            return Err(ConnectError::InvalidOptions {
                problem: "a client certificate and its key go together; one of them is missing",
            });
        }
    };
    Ok(TlsFiles { ca_cert, identity })
}

/// Reads a PEM file. The TLS library skips silently what it can't parse, so the wrong kind of file
/// would otherwise show only as an unexplained handshake failure.
fn pem(what: &'static str, path: &Path, marker: &str) -> Result<Vec<u8>, ConnectError> {
    let bytes = read_bounded(what, path, MAX_PEM_BYTES)?;
    if memchr::memmem::find(&bytes, marker.as_bytes()).is_none() {
        return Err(ConnectError::InvalidFile {
            what,
            path: path.to_owned(),
            problem: format!("it has no line that ends in {marker:?}; it must be PEM"),
        });
    }
    Ok(bytes)
}
