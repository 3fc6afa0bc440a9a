//! A proxy that limits each TCP connection to a number of bytes per second in each direction, as many registries and their storage
//! do.
//!
//! `throttle ADDRESS SERVER BYTES_PER_SECOND`: connections to ADDRESS are passed on to SERVER.

use std::{
    env, error,
    io::{Read, Result, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How much unused time a connection can make up for. Less would lose what a sleep takes too long.
const BURST: Duration = Duration::from_millis(10);

const BUFFER: usize = 256 << 10;

fn main() -> std::result::Result<(), Box<dyn error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, server, rate] = &arguments[..] else { return Err("throttle ADDRESS SERVER BYTES_PER_SECOND".into()) };
    let (server, rate) = (server.clone(), rate.parse()?);
    for client in TcpListener::bind(address)?.incoming() {
        let (client, server) = (client?, server.clone());
        thread::spawn(move || {
            if let Err(error) = connect(client, &server, rate) {
                eprintln!("throttle: {error}");
            }
        });
    }
    Ok(())
}

/// Passes bytes in both directions, until both sides have ended.
fn connect(client: TcpStream, server: &str, rate: u64) -> Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, rate));
        pass(&server, &client, rate);
    });
    Ok(())
}

/// Passes bytes in one direction. If that is not possible any more, the other direction ends too.
fn pass(from: &TcpStream, to: &TcpStream, rate: u64) {
    if pass_at(rate, from, to).and_then(|()| to.shutdown(Shutdown::Write)).is_err() {
        // A side that is gone already cannot be told.
        [from, to].into_iter().for_each(|side| drop(side.shutdown(Shutdown::Both)));
    }
}

fn pass_at(rate: u64, mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    // When all bytes that were read have passed at this rate.
    let mut free = Instant::now();
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let now = Instant::now();
        free = free.max(now - BURST) + Duration::from_nanos(length as u64 * 1_000_000_000 / rate);
        thread::sleep(free.saturating_duration_since(now));
        to.write_all(&buffer[..length])?;
    }
}
