//! Content digests, `algorithm:hex`. They are checked when they are parsed, so a digest is always
//! safe to use as a file name.

use crate::hash_states::{Boundaries, HashStates};
use modelpack_hash::Sha256;
use serde::{Deserialize, Serialize};
use sha2::{
    Digest as _, Sha512,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use std::{fmt, str::FromStr};

/// A hash function that the OCI image specification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every implementation must support.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in a digest: `sha256` or `sha512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = InvalidDigest;

    fn from_str(name: &str) -> Result<Self, InvalidDigest> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(InvalidDigest(name.to_owned())),
        }
    }
}

/// The digest of some bytes, such as `sha256:44136f…`: a known algorithm and exactly the number of
/// lower-case hexadecimal digits that it requires.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, for display.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| invalid())?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(is_hex) {
            return Err(invalid());
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// The text is not a digest of a known algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: expected `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits")]
pub struct InvalidDigest(String);

/// Computes a [`Digest`] piece by piece.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    boundaries: Option<Boundaries>,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher that has not yet received bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, boundaries: None }
    }

    /// The same, which also notes what [`hash_states`](Self::hash_states) returns. It needs at most
    /// 4 MiB of memory for this.
    pub fn recording(algorithm: Algorithm) -> Self {
        Self { boundaries: (algorithm == Algorithm::Sha256).then(Boundaries::record), ..Self::new(algorithm) }
    }

    /// A SHA-256 hasher that continues somewhere in a blob.
    pub(crate) fn within(hasher: Sha256, boundaries: Boundaries) -> Self {
        Self { state: State::Sha256(hasher), boundaries: Some(boundaries) }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while let Some(now) = self.until_boundary().filter(|now| *now <= bytes.len()) {
            let (before, after) = bytes.split_at(now);
            self.add(before);
            self.look_at_boundary();
            bytes = after;
        }
        self.add(bytes);
    }

    /// Adds the next bytes of two streams. With SHA-256, this takes less time than one after the
    /// other.
    pub fn update_pair(one: &mut Self, mut bytes: &[u8], other: &mut Self, mut other_bytes: &[u8]) {
        while let (State::Sha256(first), State::Sha256(second)) = (&mut one.state, &mut other.state) {
            let limit = |boundaries: &Option<Boundaries>, count, len| {
                boundaries.as_ref().map_or(len, |boundaries| boundaries.until_next(count).min(len as u64) as usize)
            };
            let len = limit(&one.boundaries, first.count(), bytes.len()).min(limit(&other.boundaries, second.count(), other_bytes.len()));
            if len == 0 {
                break;
            }
            Sha256::update_pair(first, &bytes[..len], second, &other_bytes[..len]);
            (bytes, other_bytes) = (&bytes[len..], &other_bytes[len..]);
            one.look_at_boundary();
            other.look_at_boundary();
        }
        one.update(bytes);
        other.update(other_bytes);
    }

    /// The states between the chunks of the bytes added, if it is [recording](Self::recording).
    pub fn hash_states(&self) -> Option<HashStates> {
        match &self.state {
            State::Sha256(hasher) => self.boundaries.as_ref()?.recorded(hasher.count()),
            State::Sha512(_) => None,
        }
    }

    /// The states that were noted until now, if it is [recording](Self::recording) and they are those
    /// after each 1 MiB.
    pub fn noted_states(&self) -> Option<&[u8]> {
        self.boundaries.as_ref()?.noted()
    }

    /// The same, as it was when it had noted `states` of all bytes that it has taken. If they cannot
    /// be these, it notes nothing.
    pub fn having_noted(self, states: Vec<u8>) -> Self {
        let boundaries = match &self.state {
            State::Sha256(hasher) => Boundaries::having_noted(states, hasher.count()),
            State::Sha512(_) => None,
        };
        Self { boundaries, ..self }
    }

    /// Up to which byte of the blob with the digest `digest` the bytes added agree with the list
    /// that made this hasher ([`HashStates::hasher`]): the end of a chunk. `None` if they do not
    /// agree; then the list or the bytes are wrong.
    pub fn agrees_up_to(&self, digest: &Digest) -> Option<u64> {
        let (State::Sha256(hasher), Some(boundaries)) = (&self.state, &self.boundaries) else { return None };
        let up_to = boundaries.agrees_up_to(hasher.count())?;
        (up_to < hasher.count() || !boundaries.is_end_of_blob(up_to) || self.clone().finish() == *digest).then_some(up_to)
    }

    fn add(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// After how many bytes a chunk ends.
    fn until_boundary(&self) -> Option<usize> {
        match (&self.state, &self.boundaries) {
            (State::Sha256(hasher), Some(boundaries)) => usize::try_from(boundaries.until_next(hasher.count())).ok(),
            _ => None,
        }
    }

    /// Notes or compares the state, if it is one between two chunks.
    fn look_at_boundary(&mut self) {
        if let (State::Sha256(hasher), Some(boundaries)) = (&self.state, &mut self.boundaries)
            && let Some(state) = hasher.state()
        {
            boundaries.look_at(hasher.count(), &state);
        }
    }

    /// The state after the bytes added, from which [`resume`](Self::resume) continues. It has at
    /// most 209 bytes, and is not secret.
    pub fn state(&self) -> Vec<u8> {
        match &self.state {
            State::Sha256(hasher) => hasher.save(),
            State::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// A hasher that has the bytes of an earlier [`state`](Self::state); `None` if that is not a
    /// state of this hash function. Whether the state belongs to certain bytes cannot be checked.
    pub fn resume(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::resume(state)?),
            Algorithm::Sha512 => State::Sha512(Sha512::deserialize(&SerializedState::<Sha512>::try_from(state).ok()?).ok()?),
        };
        Some(Self { state, boundaries: None })
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let hex = match self.state {
            State::Sha256(hasher) => hex(&hasher.finish()),
            State::Sha512(hasher) => hex(&hasher.finalize()),
        };
        Digest { algorithm, hex }
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_empty_content_and_of_an_empty_object() {
        assert_eq!(Digest::of(b"").to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::of(b"{}").to_string(), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        let mut sha512 = Hasher::new(Algorithm::Sha512);
        sha512.update(b"abc");
        let digest = sha512.finish();
        assert!(digest.hex().starts_with("ddaf35a193617aba"));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn a_hasher_continues_from_a_state() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for before in [0, 1, 63, 64, 127, 128, 1000] {
                let bytes: Vec<u8> = (0..1500u32).map(|i| (i % 251) as u8).collect();
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&bytes[..before]);
                let state = hasher.state();
                let mut resumed = Hasher::resume(algorithm, &state).expect("it is a state");
                resumed.update(&bytes[before..]);
                assert_eq!(resumed.finish(), algorithm.digest(&bytes), "after {before} bytes");
                assert!(Hasher::resume(algorithm, &state[..state.len() - 1]).is_none());
            }
        }
    }

    #[test]
    fn only_known_algorithms_with_exact_lower_case_digits_parse() {
        let hex = "a".repeat(64);
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        for bad in [
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{hex}a"),
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            format!("md5:{}", "a".repeat(32)),
            "sha256:../../etc/passwd".to_owned(),
            format!("sha256:{}g", &hex[1..]),
            hex.clone(),
            String::new(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
