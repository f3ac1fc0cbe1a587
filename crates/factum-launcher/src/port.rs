//! A port of 127.0.0.1 that stays ours while its server is dead. Below the range from which the kernel takes the ports
//! of outgoing connections, and told to other launchers of this machine by a name that the kernel frees with us.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use crate::error::{Error, Result};

const FIRST: u16 = 10_240;
const COUNT: u64 = 22_000;
const TRIES: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reserved: UnixListener,
}

impl Port {
    pub(crate) fn free() -> Result<Self> {
        let none = || std::io::Error::from(std::io::ErrorKind::AddrInUse);
        (0..TRIES).find_map(|_| Self::take(any())).ok_or_else(none).map_err(Error::io("find a free port"))
    }

    fn take(number: u16) -> Option<Self> {
        let name = UnixAddr::from_abstract_name(format!("factum-launcher-{number}")).ok()?;
        let reserved = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _reserved: reserved })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn any() -> u16 {
    // Every `RandomState` has other keys.
    let random = RandomState::new().build_hasher().finish() % COUNT;
    FIRST + u16::try_from(random).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_even_while_nobody_listens_on_it() {
        let port = Port::free().unwrap();
        assert!(Port::take(port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(Port::take(number).is_some());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_given() {
        let port = Port::free().unwrap().number();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(Port::take(port).is_none());
    }
}
