//! Connections that are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use super::Server;

/// The number of a request's connection, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection(pub(super) u64);

pub(super) struct Counted {
    io: TcpStream,
    number: u64,
    server: Arc<Server>,
}

impl Counted {
    pub(super) fn new(io: TcpStream, server: Arc<Server>) -> io::Result<Self> {
        io.set_nodelay(true)?;
        let number = server.note(|seen| {
            seen.connections += 1;
            seen.open_connections += 1;
            seen.most_open_connections = seen.most_open_connections.max(seen.open_connections);
            seen.connections - 1
        });
        Ok(Self { io, number, server })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.server.note(|seen| seen.open_connections -= 1);
    }
}

impl Connected for Counted {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        Connection(self.number)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
