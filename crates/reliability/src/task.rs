//! The commands that a round runs, and the expectations for each.

use crate::scene::{Scene, Violation, below};
use modelpack_testkit::{Random, difference};
use serde_json::Value;
use std::{fs, path::PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    PushDirectory,
    PushStored,
    LayoutToRegistry,
    ArchiveToRegistry,
    Pull,
    PullInto,
    CopyToLayout,
    CopyToArchive,
    CopyInRegistry,
    AttachInRegistry,
    Login,
    Pack,
    Unpack,
    Attach,
    Tag,
    Remove,
    Prune,
}

/// A prepared command and the expected result.
pub struct Prepared {
    pub words: Vec<String>,
    pub expected: Expected,
}

pub enum Expected {
    /// The artifact at the place, before and after the command.
    Artifact { place: String, before: Option<String>, after: Option<String> },
    /// The directory holds some files of the model before the command, and all of them after it.
    Directory { directory: PathBuf, model: PathBuf },
    /// The credentials file has a login for another registry, and after the command also one for
    /// this registry.
    Login { file: PathBuf, host: String },
}

impl Task {
    /// Commands that use a registry.
    pub const REMOTE: [Self; 11] = [
        Self::PushDirectory,
        Self::PushStored,
        Self::LayoutToRegistry,
        Self::ArchiveToRegistry,
        Self::Pull,
        Self::PullInto,
        Self::CopyToLayout,
        Self::CopyToArchive,
        Self::CopyInRegistry,
        Self::AttachInRegistry,
        Self::Login,
    ];
    /// Commands that do not use a registry.
    pub const LOCAL: [Self; 6] = [Self::Pack, Self::Unpack, Self::Attach, Self::Tag, Self::Remove, Self::Prune];

    /// Whether the command reads blobs from a registry.
    pub fn reads(self) -> bool {
        matches!(self, Self::Pull | Self::PullInto | Self::CopyToLayout | Self::CopyToArchive | Self::AttachInRegistry)
    }

    /// Whether the command writes blobs to a registry.
    pub fn writes(self) -> bool {
        matches!(self, Self::PushDirectory | Self::PushStored | Self::LayoutToRegistry | Self::ArchiveToRegistry | Self::AttachInRegistry)
    }

    /// Prepares the command. Sometimes the target already holds an earlier result.
    pub fn prepare(self, scene: &Scene, random: &mut Random) -> Result<Prepared, Violation> {
        let (host, layering, moving) = (&scene.host, scene.layering, ["--connections", scene.connections]);
        let reference = format!("{host}/m:v1");
        let again = random.once_in(2);
        let before = again.then(|| scene.old.digest.clone());
        let (old, new) = (Some(scene.old.digest.clone()), Some(scene.new.digest.clone()));
        let artifact = |place: &str, before, after| Expected::Artifact { place: place.to_owned(), before, after };
        let in_registry = scene.in_registry("m", "v1");
        let (words, expected) = match self {
            Self::PushDirectory => ([&["push", "new", &reference], &moving[..], layering].concat(), artifact(&in_registry, old, new)),
            Self::PushStored => {
                scene.ok(&[&["pack", "new", "-t", &reference], layering].concat())?;
                ([&["push", &reference], &moving[..]].concat(), artifact(&in_registry, old, new))
            }
            Self::LayoutToRegistry | Self::ArchiveToRegistry => {
                let place = if self == Self::LayoutToRegistry { "oci:layout:v1" } else { "oci-archive:archive.tar:v1" };
                scene.ok_apart(&["cp", "store:m:new", place])?;
                ([&["cp", place, &reference], &moving[..]].concat(), artifact(&in_registry, old, new))
            }
            Self::Pull => {
                let words = [&["pull", &reference], &moving[..]].concat();
                if again {
                    scene.ok(&words)?;
                }
                scene.publish("new", "v1")?;
                (words, artifact(&format!("store:{reference}"), before, new))
            }
            Self::CopyToLayout | Self::CopyToArchive => {
                let place = if self == Self::CopyToLayout { "oci:layout:v1" } else { "oci-archive:archive.tar:v1" };
                let words = [&["cp", &reference, place], &moving[..]].concat();
                if again {
                    scene.ok(&words)?;
                }
                scene.publish("new", "v1")?;
                (words, artifact(place, before, new))
            }
            Self::PullInto | Self::Unpack => {
                let directory = scene.user.home().join("out");
                if again {
                    let name = "config.json";
                    let copied = fs::create_dir(&directory).and_then(|()| fs::copy(scene.new.directory.join(name), directory.join(name)));
                    copied.map_err(|e| format!("cannot copy {name}: {e}"))?;
                }
                let words = if self == Self::PullInto {
                    scene.publish("new", "v1")?;
                    [&["pull", &reference, "-o", "out"], &moving[..]].concat()
                } else {
                    scene.ok(&[&["pack", "new", "-t", "m:v1"], layering].concat())?;
                    vec!["unpack", "m:v1", "-o", "out"]
                };
                (words, Expected::Directory { directory, model: scene.new.directory.clone() })
            }
            Self::CopyInRegistry => {
                scene.publish("new", "v1")?;
                let to = format!("{host}/other:v1");
                let words = [&["cp", &reference, &to], &moving[..]].concat();
                return Ok(Prepared { words: scene.words(&words), expected: artifact(&scene.in_registry("other", "v1"), None, new) });
            }
            Self::Attach | Self::AttachInRegistry => {
                let path = scene.user.home().join("NOTES.md");
                fs::write(&path, random.bytes(300_000)).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
                let after = scene.ok_apart(&["attach", "NOTES.md", "-s", "store:m:old", "-t", "store:m:attached"])?;
                let (at, place) = if self == Self::Attach {
                    scene.ok(&[&["pack", "old", "-t", "m:v1"], layering].concat())?;
                    ("store:m:v1".to_owned(), "store:m:v1")
                } else {
                    (format!("docker://{reference}"), in_registry.as_str())
                };
                let words = [&["attach", "NOTES.md", "-s", &at, "-t", &at, "--force"], &moving[..]].concat();
                return Ok(Prepared { words: scene.words(&words), expected: artifact(place, old, Some(after)) });
            }
            Self::Login => {
                let file = scene.user.home().join(".docker/config.json");
                let logins = r#"{"auths":{"registry.example.com":{"auth":"YTpi"}},"unknown":[1]}"#;
                let written = fs::create_dir(scene.user.home().join(".docker")).and_then(|()| fs::write(&file, logins));
                written.map_err(|e| format!("cannot write {}: {e}", file.display()))?;
                (vec!["login", host, "-u", "alice", "-p", "secret"], Expected::Login { file, host: host.clone() })
            }
            Self::Pack => {
                if again {
                    scene.ok(&[&["pack", "old", "-t", "m:v1"], layering].concat())?;
                }
                ([&["pack", "new", "-t", "m:v1"], &moving[..], layering].concat(), artifact("store:m:v1", before, new))
            }
            Self::Tag => {
                scene.ok(&[&["pack", "old", "-t", "m:v1"], layering].concat())?;
                scene.ok(&[&["pack", "new", "-t", "m:v2"], layering].concat())?;
                (vec!["tag", "m:v2", "m:v1"], artifact("store:m:v1", old, new))
            }
            Self::Remove => {
                scene.ok(&[&["pack", "old", "-t", "m:v1"], layering].concat())?;
                (vec!["rm", "m:v1"], artifact("store:m:v1", old, None))
            }
            Self::Prune => {
                scene.ok(&[&["pack", "old", "-t", "m:v1"], layering].concat())?;
                scene.ok(&[&["pack", "new", "-t", "m:v1"], layering].concat())?;
                (vec!["prune"], artifact("store:m:v1", new.clone(), new))
            }
        };
        Ok(Prepared { words: scene.words(&words), expected })
    }
}

impl Expected {
    /// Checks that the result is complete: the new one if the command is `done`, the old or the new
    /// one otherwise. Returns whether it is the new one.
    pub fn check(&self, scene: &Scene, done: bool) -> Result<bool, Violation> {
        match self {
            Self::Artifact { place, before, after } => {
                let found = scene.whole(place)?;
                if found == *after {
                    return Ok(true);
                }
                if found == *before && !done {
                    return Ok(false);
                }
                Err(format!("{place} is {found:?}; it was {before:?} and should be {after:?}"))
            }
            Self::Directory { directory, model } => {
                let missing = || Some(format!("{} does not exist", directory.display()));
                match if directory.is_dir() { difference(directory, model) } else { missing() } {
                    Some(why) if done => return Err(why),
                    Some(_) => {}
                    None => return Ok(true),
                }
                // Every file under its final name must be correct.
                for path in below(directory) {
                    let inside = path.strip_prefix(directory).expect("the path is below the directory");
                    let hidden = inside.iter().any(|name| name.as_encoded_bytes().starts_with(b"."));
                    if !hidden && path.is_file() && fs::read(&path).ok() != fs::read(model.join(inside)).ok() {
                        return Err(format!("{} is visible but wrong", path.display()));
                    }
                }
                Ok(false)
            }
            Self::Login { file, host } => {
                let logins = fs::read(file).map_err(|e| format!("the credentials file cannot be read: {e}"))?;
                let logins: Value = serde_json::from_slice(&logins).map_err(|e| format!("the credentials file is damaged: {e}"))?;
                if logins["auths"]["registry.example.com"]["auth"] != "YTpi" || logins["unknown"] != serde_json::json!([1]) {
                    return Err(format!("the earlier content of the credentials file is lost: {logins}"));
                }
                let login = &logins["auths"][host]["auth"];
                match login.as_str() {
                    Some("YWxpY2U6c2VjcmV0") => Ok(true),
                    None if !done => Ok(false),
                    _ => Err(format!("the login for {host} is {login}")),
                }
            }
        }
    }
}
