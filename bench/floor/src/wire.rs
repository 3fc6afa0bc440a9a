//! How parts go through a socket: a connection carries one pair after the other. A pair is announced by names, offsets and lengths. Its bytes
//! follow, a piece of each part in turn.

use crate::{
    Digest, Result,
    parts::{Pair, Part},
};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

pub(crate) fn connect(address: &str) -> Result<TcpStream> {
    let server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Tells the server which pair follows, or is asked for.
pub(crate) fn announce(mut server: &TcpStream, pair: &Pair) -> Result {
    let mut head = Vec::new();
    for part in &pair.0 {
        head.push(u8::try_from(part.name.len())?);
        head.extend(part.name.as_bytes());
        head.extend([part.offset, part.length].map(u64::to_be_bytes).as_flattened());
    }
    Ok(server.write_all(&head)?)
}

fn announced(mut client: &TcpStream) -> Result<Part> {
    let mut length = [0];
    client.read_exact(&mut length)?;
    let mut name = vec![0; length[0].into()];
    client.read_exact(&mut name)?;
    let mut number = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    };
    Ok(Part { name: String::from_utf8(name)?, offset: number()?, length: number()? })
}

/// Sends the bytes of a pair, which do not enter the process. (`io::copy` does not use `sendfile` for that: files can change meanwhile.)
pub(crate) fn send(to: &TcpStream, pair: &Pair, source: &str) -> Result {
    let from = pair.open(source)?;
    for lengths in pair.pieces() {
        for (file, mut length) in from.iter().zip(lengths) {
            while length > 0 {
                match rustix::fs::sendfile(to, file, None, length)? {
                    0 => return Err("a file has become shorter".into()),
                    sent => length -= sent,
                }
            }
        }
    }
    Ok(())
}

/// The digests that the server has computed.
pub(crate) fn digests(mut server: &TcpStream) -> Result<[Digest; 2]> {
    let mut digests = [[0; 32]; 2];
    server.read_exact(digests.as_flattened_mut())?;
    Ok(digests)
}

/// Answers each connection on a separate thread, until the process is killed.
pub(crate) fn listen(address: &str, answer: impl Fn(&Pair, &TcpStream) -> Result + Sync) -> Result {
    let listener = TcpListener::bind(address)?;
    thread::scope(|scope| {
        for client in listener.incoming() {
            let answer = &answer;
            scope.spawn(move || {
                if let Err(error) = client.map_err(Into::into).and_then(|client| answer_all(&client, answer)) {
                    eprintln!("floor: {error}");
                }
            });
        }
    });
    Ok(())
}

/// Answers pair after pair, until the client ends the connection.
fn answer_all(client: &TcpStream, answer: impl Fn(&Pair, &TcpStream) -> Result) -> Result {
    client.set_nodelay(true)?;
    while client.peek(&mut [0])? > 0 {
        answer(&Pair([announced(client)?, announced(client)?]), client)?;
    }
    Ok(())
}
