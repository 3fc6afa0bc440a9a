//! The floor: the minimum cost of packing, pushing and pulling on this machine, with plain threads,
//! large buffers, no protocol and no durability. Two files are processed concurrently, and every
//! byte is read, hashed and written as often as the real operation must do it.
//!
//! `floor pack SOURCE DESTINATION`: each file is read, hashed and written.
//! `floor receive ADDRESS DESTINATION` and `floor send ADDRESS SOURCE`: a push. Both sides hash.
//! `floor serve ADDRESS SOURCE` and `floor fetch ADDRESS DESTINATION NAME…`: a pull. The client hashes.

use sha2::{Digest, Sha256};
use std::{
    env, error,
    fs::{self, File},
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::Mutex,
    thread,
};

type Result<T = ()> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;

const AT_ONCE: usize = 2;
const BUFFER: usize = 256 << 10;

fn main() -> Result {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["pack", source, destination] => each(names(source)?, |name| {
            hashed_copy(&mut open(source, name)?, &mut create(destination, name)?)?;
            Ok(())
        }),
        ["receive", address, destination] => listen(address, |name, client| {
            let digest = hashed_copy(client, &mut create(destination, name)?)?;
            Ok(client.write_all(&digest)?)
        }),
        ["send", address, source] => each(names(source)?, |name| {
            let mut server = ask(address, name)?;
            let digest = hashed_copy(&mut open(source, name)?, &mut server)?;
            server.shutdown(Shutdown::Write)?;
            let mut received = Vec::new();
            server.read_to_end(&mut received)?;
            if received == digest { Ok(()) } else { Err(format!("{name} was damaged").into()) }
        }),
        // From a file to a socket this uses `sendfile`, so the bytes never enter the process.
        ["serve", address, source] => listen(address, |name, client| {
            io::copy(&mut open(source, name)?, client)?;
            Ok(client.shutdown(Shutdown::Write)?)
        }),
        ["fetch", address, destination, ref names @ ..] => each(names.to_vec(), |name| {
            hashed_copy(&mut ask(address, name)?, &mut create(destination, name)?)?;
            Ok(())
        }),
        _ => Err("floor pack|receive|send|serve|fetch: see the source".into()),
    }
}

/// The names of the files in a directory, without subdirectories.
fn names(directory: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?);
        }
    }
    Ok(names)
}

fn open(directory: &str, name: &str) -> io::Result<File> {
    File::open(Path::new(directory).join(name))
}

fn create(directory: &str, name: &str) -> io::Result<File> {
    File::create(Path::new(directory).join(name))
}

/// Processes two items concurrently.
fn each<T: AsRef<str> + Send>(items: Vec<T>, work: impl Fn(&str) -> Result + Sync) -> Result {
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().expect("taking an item does not panic").next();
    let worker = || -> Result {
        while let Some(item) = next() {
            work(item.as_ref())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

/// Copies all bytes from the reader to the writer and hashes them.
fn hashed_copy(from: &mut impl Read, to: &mut impl Write) -> Result<Vec<u8>> {
    let mut buffer = vec![0; BUFFER];
    let mut hasher = Sha256::new();
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_vec()),
            length => {
                hasher.update(&buffer[..length]);
                to.write_all(&buffer[..length])?;
            }
        }
    }
}

/// Opens a connection and sends a file name: its length in one byte, then the name.
fn ask(address: &str, name: &str) -> Result<TcpStream> {
    let mut server = TcpStream::connect(address)?;
    server.write_all(&[u8::try_from(name.len())?])?;
    server.write_all(name.as_bytes())?;
    Ok(server)
}

/// Answers each connection on a separate thread, until the process is killed.
fn listen(address: &str, answer: impl Fn(&str, &mut TcpStream) -> Result + Sync) -> Result {
    let listener = TcpListener::bind(address)?;
    thread::scope(|scope| {
        for client in listener.incoming() {
            let answer = &answer;
            scope.spawn(move || {
                let answered = client.map_err(Into::into).and_then(|mut client| {
                    let mut length = [0];
                    client.read_exact(&mut length)?;
                    let mut name = vec![0; length[0].into()];
                    client.read_exact(&mut name)?;
                    answer(str::from_utf8(&name)?, &mut client)
                });
                // A client that only checks whether the server listens sends nothing.
                if let Err(error) = answered {
                    eprintln!("floor: {error}");
                }
            });
        }
    });
    Ok(())
}
