//! Tells whoever started this program that it is ready: systemd (`Type=notify`), or this program itself.

use rustix::process::Pid;
use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
            process::CommandExt,
        },
    },
    process::Command,
};

/// The variable that names the socket, as systemd defined it.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

const READY: &[u8] = b"READY=1";

/// Where to tell that the program is ready, if somebody wants to know.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<OsString>);

impl Notify {
    /// With the value of [`VARIABLE`].
    pub fn new(socket: Option<OsString>) -> Self {
        Self(socket)
    }

    /// Tells it. Nobody depends on it here, so a failure is none.
    pub fn tell_ready(&self) {
        let Some(name) = self.0.as_ref().map(|name| name.as_bytes()) else { return };
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(name))),
        };
        let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(READY, &address));
    }
}

/// Waits until another process tells that it is ready.
pub struct Readiness {
    socket: UnixDatagram,
    name: String,
}

impl Readiness {
    pub fn listen() -> io::Result<Self> {
        let name = format!("modelpack-{}", Pid::as_raw(Some(rustix::process::getpid())));
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, name })
    }

    /// Lets a process tell it, and not end with the group of this one.
    pub fn be_told_by<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env(VARIABLE, format!("@{}", self.name)).process_group(0)
    }

    pub fn is_told(&self) -> bool {
        let mut message = [0; READY.len()];
        matches!(self.socket.recv(&mut message), Ok(n) if message[..n] == *READY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_the_file_system_and_one_without_a_file_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Notify::new(Some(path.into())).tell_ready();
        let mut message = [0; 20];
        let n = socket.recv(&mut message).unwrap();
        assert_eq!(&message[..n], READY);

        let ready = Readiness::listen().unwrap();
        assert!(!ready.is_told());
        Notify::new(Some(format!("@{}", ready.name).into())).tell_ready();
        assert!(ready.is_told());
        Notify::new(Some("/absent".into())).tell_ready();
        Notify::default().tell_ready();
    }
}
