//! One or two faults for chosen requests of a command.

use crate::{
    scene::{Blob, Version},
    task::Task,
};
use modelpack_testkit::{Failure, Fault, Random};

/// The faults of a round.
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    /// A description of the faults.
    pub(super) description: String,
    /// Whether the command must succeed in spite of the faults.
    pub(super) passes: bool,
    /// Whether the only fault is a missing response, and the time-out of the command ends the wait for
    /// it.
    pub(super) times_out: bool,
    /// Whether the only fault is a missing response, and a signal ends the command. The answer to a
    /// PUT is waited for much longer than the time-out.
    pub(super) interrupts: bool,
}

/// Chooses one or two faults for requests of the task. `written` and `read` are the versions that
/// it writes to the registry and reads from it.
pub(super) fn plan(task: Task, written: &Version, read: &Version, random: &mut Random) -> Plan {
    let mut plan = Plan { faults: Vec::new(), description: String::new(), passes: true, times_out: false, interrupts: false };
    for _ in 0..1 + random.below(2) {
        let mut requests = vec![("GET", "/manifests/")];
        if task == Task::Login {
            requests = vec![("GET", "/v2/")];
        }
        if task.reads() {
            requests.extend([("GET", "/blobs/"); 4]);
        }
        if task.writes() || task == Task::CopyInRegistry {
            requests = vec![("HEAD", "/blobs/"), ("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")];
            requests.extend([("PUT", "/blobs/uploads/"); 2]);
            requests.extend(task.reads().then_some(("GET", "/manifests/")));
        }
        let (method, path) = random.one_of(&requests);
        let blob = blob_of(if method == "GET" { read } else { written }, random);
        // The fault affects one specific blob, or the first request of any blob.
        let one = random.once_in(2);
        let path = match (method, path) {
            ("GET" | "HEAD", "/blobs/") if one => format!("/blobs/{}", blob.digest),
            ("PUT", "/blobs/uploads/") if one => format!("digest={}", blob.digest.replace(':', "%3A")),
            _ => path.to_owned(),
        };
        let (failure, passes) = failure(method, &path, blob.size, random);
        let stalls = matches!(failure, Failure::Stall);
        let times = if passes || random.once_in(2) { Some(1 + random.below(2)) } else { None };
        if stalls {
            plan.times_out = method != "PUT" && random.once_in(2);
            plan.interrupts = !plan.times_out;
            (plan.faults, plan.description, plan.passes) = (Vec::new(), String::new(), plan.times_out && times.is_some());
        } else {
            plan.passes &= passes;
        }
        let repeated = times.map_or_else(|| "always".to_owned(), |times| format!("{times} times"));
        plan.description += &format!("{}{failure:?} on {method} {path} {repeated}", if plan.description.is_empty() { "" } else { " and " });
        let fault = Fault::on(method, path.clone(), failure);
        plan.faults.push(match times {
            Some(times) => fault.times(usize::try_from(times).expect("the number is small")),
            None => fault,
        });
        if stalls {
            break;
        }
        // A download that was interrupted requests the rest as a range, which not every server
        // supports.
        if method == "GET" && path.contains("/blobs/") && random.once_in(3) {
            let refusal = match random.below(3) {
                0 => Failure::IgnoreRange,
                1 => status(416, None),
                _ => status(400, None),
            };
            plan.description += &format!(" and {refusal:?} for ranges");
            plan.faults.push(Fault::on("GET", path, refusal).ranged());
        }
    }
    plan
}

fn blob_of(version: &Version, random: &mut Random) -> Blob {
    let index = random.below(version.blobs.len() as u64);
    version.blobs[usize::try_from(index).expect("it is less than a length")].clone()
}

/// The kind of fault, and whether the client recovers when it happens a few times.
fn failure(method: &'static str, path: &str, size: u64, random: &mut Random) -> (Failure, bool) {
    let blobs = path.contains("/blobs/") || path.contains("digest=");
    // A manifest has a few thousand bytes.
    let at = random.below(if blobs { size.max(1) } else { 1000 });
    match (random.below(8), method) {
        (0, _) => (Failure::Stall, false),
        (1 | 2, "GET") => (Failure::CutAfter(at), true),
        (1 | 2, "PUT") => (Failure::CutRequestAfter(at), true),
        (3, "GET") => (Failure::FlipByte(at), false),
        // A manifest that is put under a tag has no expected digest in the request. Only the client
        // can detect, and report, that a different one arrived.
        (3, "PUT") if blobs => (Failure::FlipRequestByte(at), false),
        (4, "GET" | "HEAD") => (Failure::ContentLength(random.below(2 * size)), method == "HEAD"),
        (5, _) => (status(random.one_of(&[400, 403, 404, 405, 409, 422]), None), false),
        _ => {
            let pause = random.one_of(&[None, None, Some("0"), Some("1"), Some("Wed, 21 Oct 2015 07:28:00 GMT")]);
            (status(random.one_of(&[429, 500, 502, 503, 504]), pause), true)
        }
    }
}

fn status(code: u16, retry_after: Option<&str>) -> Failure {
    let headers = retry_after.map(|pause| ("Retry-After", pause.to_owned())).into_iter().collect();
    Failure::Status { code, headers, body: r#"{"errors":[{"code":"UNKNOWN","message":"an injected fault"}]}"#.to_owned() }
}
