//! [`Reply`]: what goes back to a client, in pieces.
//!
//! Records leave as parts of files: the kernel moves them from its cache to the connection, and
//! this process never sees them. Everything else is bytes.

use crate::log::segment::FileSlice;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use std::io;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Parts of files up to this size are copied: that is cheaper than another call.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// A part of a reply.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    File(FileSlice),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File(slice) => slice.bytes,
        }
    }
}

/// A reply, with its length and header.
#[derive(Debug)]
pub(crate) struct Reply {
    pieces: Vec<Piece>,
}

/// Builds a reply of bytes and parts of files.
#[derive(Debug)]
pub(crate) struct ReplyBuilder {
    done: Vec<Piece>,
    bytes: BytesMut,
}

impl ReplyBuilder {
    /// Begins a reply whose header has this version.
    pub(crate) fn new(correlation_id: i32, header_version: i16) -> ReplyBuilder {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_i32(0);
        bytes.put_i32(correlation_id);
        if header_version >= 1 {
            bytes.put_u8(0);
        }
        ReplyBuilder { done: Vec::new(), bytes }
    }

    /// Where the next bytes go.
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Puts a part of a file behind what is there.
    pub(crate) fn put_file(&mut self, slice: FileSlice) -> io::Result<()> {
        if slice.bytes <= COPIED_BYTES_MAX {
            self.bytes.extend_from_slice(&slice.read()?);
            return Ok(());
        }
        self.done.push(Piece::Bytes(self.bytes.split().freeze()));
        self.done.push(Piece::File(slice));
        Ok(())
    }

    pub(crate) fn finish(self) -> Reply {
        let ReplyBuilder { done: mut pieces, mut bytes } = self;
        let total: usize = pieces.iter().map(Piece::len).sum::<usize>() + bytes.len() - 4;
        let length = (total as u32).to_be_bytes();
        match pieces.first_mut() {
            None => bytes[..4].copy_from_slice(&length),
            Some(Piece::Bytes(first)) => {
                let mut begin = BytesMut::from(std::mem::take(first));
                begin[..4].copy_from_slice(&length);
                *first = begin.freeze();
            }
            Some(Piece::File(_)) => unreachable!("a reply begins with its length"),
        }
        if !bytes.is_empty() {
            pieces.push(Piece::Bytes(bytes.freeze()));
        }
        Reply { pieces }
    }
}

impl Reply {
    /// A reply that is one message.
    pub(crate) fn of<M: Encodable + HeaderVersion>(
        correlation_id: i32,
        version: i16,
        message: &M,
    ) -> io::Result<Reply> {
        let mut builder = ReplyBuilder::new(correlation_id, M::header_version(version));
        message.encode(builder.bytes(), version).map_err(io::Error::other)?;
        Ok(builder.finish())
    }

    /// Sends all of it, as fast as the other side takes it.
    pub(crate) async fn send(&self, to: &TcpStream) -> io::Result<()> {
        for (index, piece) in self.pieces.iter().enumerate() {
            let is_last = index + 1 == self.pieces.len();
            match piece {
                Piece::Bytes(bytes) => {
                    send_bytes(to, bytes, Followed::by_more_unless(is_last)).await?
                }
                Piece::File(slice) => send_file(to, slice).await?,
            }
        }
        Ok(())
    }
}

/// Whether what is sent is worth a packet of its own.
#[derive(Clone, Copy)]
enum Followed {
    ByMore,
    ByNothing,
}

impl Followed {
    fn by_more_unless(is_last: bool) -> Followed {
        if is_last { Followed::ByNothing } else { Followed::ByMore }
    }
}

async fn send_bytes(to: &TcpStream, bytes: &[u8], followed: Followed) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = to.async_io(Interest::WRITABLE, || send_some(to, rest, followed)).await?;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn send_some(to: &TcpStream, bytes: &[u8], followed: Followed) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};
    let flags = match followed {
        Followed::ByMore => SendFlags::NOSIGNAL | SendFlags::MORE,
        Followed::ByNothing => SendFlags::NOSIGNAL,
    };
    Ok(send(to, bytes, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn send_some(to: &TcpStream, bytes: &[u8], _: Followed) -> io::Result<usize> {
    to.try_write(bytes)
}

/// As much of a file as one call moves: others are to have their turn.
#[cfg(target_os = "linux")]
const SENT_AT_ONCE_BYTES: usize = 1 << 20;

#[cfg(target_os = "linux")]
async fn send_file(to: &TcpStream, slice: &FileSlice) -> io::Result<()> {
    let (mut position, end) = (slice.position, slice.position + slice.bytes as u64);
    while position < end {
        let bytes = SENT_AT_ONCE_BYTES.min((end - position) as usize);
        let file = &*slice.file;
        let send = || Ok(rustix::fs::sendfile(to, file, Some(&mut position), bytes)?);
        if to.async_io(Interest::WRITABLE, send).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
async fn send_file(to: &TcpStream, slice: &FileSlice) -> io::Result<()> {
    const READ_BYTES: usize = 64 << 10;
    let (mut position, end) = (slice.position, slice.position + slice.bytes as u64);
    while position < end {
        let bytes = READ_BYTES.min((end - position) as usize);
        let part = FileSlice { file: slice.file.clone(), position, bytes }.read()?;
        send_bytes(to, &part, Followed::ByMore).await?;
        position += bytes as u64;
    }
    Ok(())
}
