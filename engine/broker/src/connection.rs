//! [`serve`]: one connection, request after request, each answered before the next is looked at, as
//! the protocol has it.

use crate::node::Node;
use crate::requests::{Answer, Peer, RequestError, answer};
use crate::wire::frame::{Budget, FrameError, Frames};
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Why a connection is closed from this side.
#[derive(Debug, Error)]
enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a connection until one side has had enough.
pub(crate) async fn serve(
    stream: TcpStream,
    node: &Node,
    budget: Budget,
    advertised: Option<(String, u16)>,
) {
    let from = stream.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    match answer_all(&stream, node, budget, advertised).await {
        Ok(()) => {}
        // Clients come and go as they like.
        Err(ConnectionError::Io(error) | ConnectionError::Frame(FrameError::Io(error))) => {
            tracing::debug!("{from}: {error}");
        }
        Err(error) => tracing::info!("{from}: connection closed: {error}"),
    }
}

async fn answer_all(
    stream: &TcpStream,
    node: &Node,
    budget: Budget,
    advertised: Option<(String, u16)>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    // A client whose machine is gone says nothing more.
    rustix::net::sockopt::set_socket_keepalive(stream, true).map_err(io::Error::from)?;
    let local = stream.local_addr()?;
    let reached = || (local.ip().to_string(), local.port());
    let (advertised_host, advertised_port) = advertised.unwrap_or_else(reached);
    let client_host = format!("/{}", stream.peer_addr()?.ip());
    let peer = Peer { client_host, advertised_host, advertised_port };
    let mut frames = Frames::new(Incoming(stream), budget);
    while let Some(frame) = frames.next().await? {
        match answer(node, &peer, frame.bytes).await? {
            Answer::Reply(reply) => reply.send(stream).await?,
            Answer::Silence => {}
        }
    }
    Ok(())
}

/// The reading side of a connection.
#[derive(Debug)]
struct Incoming<'a>(&'a TcpStream);

impl AsyncRead for Incoming<'_> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        use std::task::{Poll, ready};
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }
}
