//! The floor: the minimum cost of packing, pushing, pulling and verifying on this machine, with plain threads, large buffers, and a bare
//! protocol. Every byte is read, hashed and written as often as the real operation must do it.
//!
//! Each of THREADS threads processes two parts of the model at a time and hashes them as a pair, if there are enough of them. A part is a
//! file, or a piece of one if the hash states at its ends may be known: from these, a real operation can hash it on its own, at the same cost.
//!
//! `floor pack THREADS SOURCE DESTINATION`: each file is read, hashed and written.
//! `floor receive ADDRESS DESTINATION` and `floor send THREADS ADDRESS SOURCE`: a push of files whose digests are unknown. Both sides hash.
//! `floor receive ADDRESS DESTINATION` and `floor send-known THREADS ADDRESS SOURCE`: a push of files whose digests are known.
//! `floor serve ADDRESS SOURCE` and `floor fetch THREADS ADDRESS SOURCE DESTINATION`: a pull. The client hashes. It reads the list of files,
//! which a manifest would tell it, from the directory.
//! `floor verify THREADS SOURCE`: the files are read and hashed, in parts.
//! `floor hash SOURCE`: the same with one thread and one stream. This is not a minimum, but what a plain program does.

mod parts;
mod wire;

use modelpack_hash::Sha256;
use parts::{Destination, Pair, files, parts_of_files, whole_files};
use std::{
    env, error,
    io::{self, Read, Write},
    sync::{Mutex, mpsc},
    thread,
};

type Result<T = ()> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;
type Digest = [u8; 32];

/// Large enough that calls cost nothing, and small enough that two pieces stay in the cache of a core.
const PIECE: usize = 256 << 10;

/// How many pieces of a part that has no partner wait for its hash.
const AHEAD: usize = 4;

fn main() -> Result {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["pack", threads, source, destination] => each(
            threads,
            whole_files(source, threads)?,
            || Ok(()),
            |(), pair| {
                let (mut from, mut to) = (pair.open(source)?, pair.create(destination)?);
                moved(pair, |at, piece| from[at].read_exact(piece), |at, piece| to[at].write(piece))?;
                synced(to)
            },
        ),
        ["receive", address, destination] => wire::listen(address, |pair, client| {
            let mut to = pair.create(destination)?;
            let digests = moved(pair, |_, piece| (&*client).read_exact(piece), |at, piece| to[at].write(piece))?;
            synced(to)?;
            Ok((&*client).write_all(digests.as_flattened())?)
        }),
        ["send", threads, address, source] => each(
            threads,
            whole_files(source, threads)?,
            || wire::connect(address),
            |server, pair| {
                let mut from = pair.open(source)?;
                wire::announce(server, pair)?;
                let digests = moved(pair, |at, piece| from[at].read_exact(piece), |_, piece| (&*server).write_all(piece))?;
                if wire::digests(server)? == digests { Ok(()) } else { Err(format!("{pair:?} were damaged").into()) }
            },
        ),
        ["send-known", threads, address, source] => each(
            threads,
            whole_files(source, threads)?,
            || wire::connect(address),
            |server, pair| {
                wire::announce(server, pair)?;
                wire::send(server, pair, source)?;
                wire::digests(server).map(drop)
            },
        ),
        ["serve", address, source] => wire::listen(address, |pair, client| wire::send(client, pair, source)),
        ["fetch", threads, address, source, destination] => each(
            threads,
            parts_of_files(source, threads)?,
            || wire::connect(address),
            |server, pair| {
                let mut to = pair.create(destination)?;
                wire::announce(server, pair)?;
                moved(pair, |_, piece| (&*server).read_exact(piece), |at, piece| to[at].write(piece))?;
                synced(to)
            },
        ),
        ["verify", threads, source] => each(
            threads,
            parts_of_files(source, threads)?,
            || Ok(()),
            |(), pair| {
                let mut from = pair.open(source)?;
                moved(pair, |at, piece| from[at].read_exact(piece), |_, _| Ok(())).map(drop)
            },
        ),
        ["hash", source] => {
            let mut piece = vec![0; PIECE];
            for file in files(source)? {
                let (mut from, mut hash) = (file.open(source)?, Sha256::new());
                while let length @ 1.. = from.read(&mut piece)? {
                    hash.update(&piece[..length]);
                }
                hash.finish();
            }
            Ok(())
        }
        _ => Err("floor pack|receive|send|send-known|serve|fetch|verify|hash: see the source".into()),
    }
}

/// Processes all pairs, as many at a time as there are threads. Each thread has a connection of its own.
fn each<C>(threads: &str, pairs: Vec<Pair>, connect: impl Fn() -> Result<C> + Sync, work: impl Fn(&C, &Pair) -> Result + Sync) -> Result {
    let threads = threads.parse::<usize>()?.min(pairs.len());
    let pairs = Mutex::new(pairs.into_iter());
    let next = || pairs.lock().expect("taking a pair does not panic").next();
    let worker = || -> Result {
        let connection = connect()?;
        while let Some(pair) = next() {
            work(&connection, &pair)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

/// Reads, hashes and writes two parts, piece by piece in turn.
fn moved(
    pair: &Pair,
    mut read: impl FnMut(usize, &mut [u8]) -> io::Result<()>,
    mut write: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> Result<[Digest; 2]> {
    if pair.is_alone() {
        return Ok([moved_alone(pair, |piece| read(0, piece), |piece| write(0, piece))?, Sha256::new().finish()]);
    }
    let (mut one, mut other) = (Sha256::new(), Sha256::new());
    let (mut piece, mut other_piece) = (vec![0; PIECE], vec![0; PIECE]);
    for [length, other_length] in pair.pieces() {
        let (piece, other_piece) = (&mut piece[..length], &mut other_piece[..other_length]);
        read(0, piece)?;
        read(1, other_piece)?;
        Sha256::update_pair(&mut one, piece, &mut other, other_piece);
        write(0, piece)?;
        write(1, other_piece)?;
    }
    Ok([one.finish(), other.finish()])
}

/// Reads and writes a part that has no partner. A thread of its own hashes it, because another core may have nothing to do.
fn moved_alone(
    pair: &Pair,
    mut read: impl FnMut(&mut [u8]) -> io::Result<()>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Digest> {
    let (to_hash, moved) = mpsc::channel::<Vec<u8>>();
    let (hashed, spare) = mpsc::channel();
    for _ in 0..AHEAD {
        hashed.send(vec![0; PIECE])?;
    }
    thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hash = Sha256::new();
            for piece in moved {
                hash.update(&piece);
                // The other side has gone if it has moved everything.
                let _ = hashed.send(piece);
            }
            hash.finish()
        });
        for [length, _] in pair.pieces() {
            let mut piece = spare.recv()?;
            piece.truncate(length);
            read(&mut piece)?;
            write(&piece)?;
            to_hash.send(piece)?;
        }
        drop(to_hash);
        Ok(hashing.join().expect("hashing does not panic"))
    })
}

/// Waits until two parts are on the disk. For files in memory, this takes no time.
fn synced(parts: [Destination; 2]) -> Result {
    Ok(parts.into_iter().try_for_each(Destination::sync)?)
}
