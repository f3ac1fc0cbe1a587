//! Just enough of each protocol to know that a server answers, not only that a port is open. No client crate is worth
//! its weight for that.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How to ask a server whether it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Postgres,
    MySql,
    Nats,
    Amqp,
}

impl Protocol {
    /// Logs in, as a client would, and leaves.
    pub(crate) async fn ping(self, address: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        match self {
            Self::Postgres => postgres(&mut stream).await,
            Self::MySql => mysql(&mut stream).await,
            Self::Nats => nats(&mut stream).await,
            Self::Amqp => amqp(&mut stream).await,
        }
    }
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConnectionRefused, what.into())
}

/// Protocol 3.0, until the server is ready for a query.
async fn postgres(stream: &mut TcpStream) -> Result<()> {
    const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    let length = 8 + PARAMETERS.len() as u32;
    // In one piece: PgBouncer does not wait for the rest of it.
    let login = [&length.to_be_bytes(), &196_608_u32.to_be_bytes()[..], PARAMETERS].concat();
    stream.write_all(&login).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let mut body = vec![0; length.saturating_sub(4).min(65_536) as usize];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => return stream.write_all(&[b'X', 0, 0, 0, 4]).await,
            b'E' => return Err(refused(String::from_utf8_lossy(&body))),
            _ => {}
        }
    }
}

/// Handshake as root, who has no password, until `OK`.
async fn mysql(stream: &mut TcpStream) -> Result<()> {
    // Protocol 4.1, secure connection, a plugin's name.
    const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000;
    mysql_packet(stream).await?;
    let mut answer = Vec::new();
    answer.extend(CAPABILITIES.to_le_bytes());
    answer.extend(0x0100_0000_u32.to_le_bytes()); // the largest packet: 16 MiB
    answer.push(45); // utf8mb4
    answer.extend([0; 23]);
    answer.extend(b"root\0\0mysql_native_password\0");
    let [low, middle, ..] = (answer.len() as u32).to_le_bytes();
    stream.write_all(&[low, middle, 0, 1]).await?;
    stream.write_all(&answer).await?;
    mysql_packet(stream).await?;
    stream.write_all(&[1, 0, 0, 0, 1]).await // COM_QUIT
}

async fn mysql_packet(stream: &mut TcpStream) -> Result<()> {
    let length = stream.read_u32_le().await? & 0x00ff_ffff;
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    match body.first() {
        Some(0x00 | 0x0a) => Ok(()),
        _ => Err(refused(String::from_utf8_lossy(&body))),
    }
}

/// `PONG` for a `PING`.
async fn nats(stream: &mut TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n").await?;
    line.clear();
    stream.read_line(&mut line).await?;
    if line.trim_end() == "PONG" { Ok(()) } else { Err(refused(line)) }
}

/// Protocol 0-9-1 as guest, until the virtual host `/` is open.
async fn amqp(stream: &mut TcpStream) -> Result<()> {
    const CONNECTION: u16 = 10;
    const START_OK: &[u8] = b"\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
    const TUNE_OK: &[u8] = b"\0\x0a\0\x1f\0\x01\0\0\x10\0\0\0";
    const OPEN: &[u8] = b"\0\x0a\0\x28\x01/\0\0";
    const CLOSE: &[u8] = b"\0\x0a\0\x32\0\0\0\0\0\0\0";
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    for (expected, answers) in [(10, &[START_OK][..]), (30, &[TUNE_OK, OPEN]), (41, &[CLOSE]), (51, &[])] {
        let method = amqp_method(stream).await?;
        if method != (CONNECTION, expected) {
            return Err(refused(format!("AMQP method {method:?} instead of {expected}")));
        }
        for answer in answers {
            let length = (answer.len() as u32).to_be_bytes();
            stream.write_all(&[&[1, 0, 0], &length[..], answer, &[0xce]].concat()).await?;
        }
    }
    Ok(())
}

/// Class and method of the next frame.
async fn amqp_method(stream: &mut TcpStream) -> Result<(u16, u16)> {
    let mut header = [0; 3];
    stream.read_exact(&mut header).await?;
    let length = stream.read_u32().await?;
    if header != [1, 0, 0] || !(4..65_536).contains(&length) {
        return Err(refused("no AMQP method"));
    }
    let method = (stream.read_u16().await?, stream.read_u16().await?);
    let mut rest = vec![0; length as usize - 3];
    stream.read_exact(&mut rest).await?;
    Ok(method)
}
