//! Which end of a command each fault explains.

use modelpack_testkit::{Failure, Output};

/// Exit codes of the program.
const NOT_FOUND: i32 = 3;
const UNAUTHORIZED: i32 = 4;
const VERIFICATION: i32 = 5;
const NETWORK: i32 = 7;

/// Words about a connection that did not bring all bytes.
const BROKEN: &[&str] = &["connection", "ended too early", "cut", "broke off", "closed", "bytes had come"];
/// Words about bytes that are not the right ones.
const WRONG: &[&str] = &["digest", "DIGEST_INVALID", "size", "not valid", "invalid", "malformed"];
const NO_ANSWER: &[&str] = &["nothing came", "timed out"];

/// Whether the fault is over when the request is sent again, so that a few of them must not end a
/// command.
pub(super) fn is_temporary(failure: &Failure) -> bool {
    match failure {
        Failure::Status { code, .. } => matches!(code, 408 | 429 | 500 | 502 | 503 | 504),
        Failure::CutAfter(_)
        | Failure::CutRequestAfter(_)
        | Failure::ResetAfter(_)
        | Failure::PauseAfter(..)
        | Failure::Stall
        | Failure::StallAfter(_)
        | Failure::IgnoreRange
        | Failure::LoseAnswer
        | Failure::ExpireTokens
        | Failure::Redirect
        | Failure::MoveSession => true,
        _ => false,
    }
}

/// Whether nothing comes until the time-out of the command ends the request.
pub(super) fn is_stall(failure: &Failure) -> bool {
    matches!(failure, Failure::Stall | Failure::StallAfter(_))
}

/// Whether the command may have ended in this way because of this fault: the exit code is one of
/// those that belong to it, and the error says what happened.
pub(super) fn explains(failure: &Failure, output: &Output) -> bool {
    let says = |words: &[&str]| words.iter().any(|word| output.stderr.contains(word));
    let code = output.code;
    match failure {
        Failure::Status { code: 401 | 403, .. } => code == UNAUTHORIZED,
        Failure::Status { code: 404, .. } => code == NOT_FOUND,
        Failure::Status { code: status, .. } => code == NETWORK && says(&[&status.to_string(), "an injected fault"]),
        Failure::CutAfter(_)
        | Failure::CutRequestAfter(_)
        | Failure::CutConnectionAfter(_)
        | Failure::ResetAfter(_)
        | Failure::LoseAnswer => code == NETWORK && says(BROKEN),
        Failure::FlipByte(_) | Failure::FlipRequestByte(_) | Failure::Repeat { .. } => {
            matches!(code, VERIFICATION | NETWORK) && says(WRONG)
        }
        // The rest of the body is requested from the wrong position.
        Failure::Omit { .. } => matches!(code, VERIFICATION | NETWORK) && says(WRONG) || code == NETWORK && says(BROKEN),
        Failure::ContentLength(_) | Failure::ShortBody(_) => {
            code == VERIFICATION && says(WRONG) || code == NETWORK && (says(BROKEN) || says(&["more bytes came"]))
        }
        Failure::ContentRange(_) => code == NETWORK && says(&["another part came"]),
        Failure::ExpireTokens => code == UNAUTHORIZED,
        Failure::Stall | Failure::StallAfter(_) | Failure::StallRequestAfter(_) => code == NETWORK && says(NO_ANSWER),
        Failure::RequireBasic { .. } => code == UNAUTHORIZED,
        // Every client can go on after these.
        Failure::PauseAfter(..) | Failure::IgnoreRange | Failure::Redirect | Failure::MoveSession | Failure::LimitRequest(_) => false,
    }
}
