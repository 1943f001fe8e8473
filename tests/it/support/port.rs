//! A port of this computer that stays ours while nobody listens on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};

/// A reserved port. While nobody [`listen`](Self::listen)s on it, connecting is refused, and no other socket gets it.
pub(crate) struct Port {
    address: SocketAddr,
    /// Bound, never listening.
    _reserved: TcpSocket,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let reserved = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self { address: reserved.local_addr().unwrap(), _reserved: reserved }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on a reserved port. A listener that is just being dropped elsewhere is waited for.
pub(crate) async fn listen(address: SocketAddr) -> TcpListener {
    let begun = Instant::now();
    loop {
        match socket(address).and_then(|socket| socket.listen(1024)) {
            Ok(listener) => return listener,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "can't listen on {address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
