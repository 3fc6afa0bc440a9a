//! The log on stderr, with the events of the libraries. Without `--verbose` and `MODELPACK_LOG`
//! there is no log, except for errors that a command cannot report in another way.

use crate::{
    failure::{Failure, Kind},
    output::Output,
};
use serde_json::{Map, Value, json};
use std::{fmt, str::FromStr};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::filter::Targets;

/// The prefix of the targets of all crates of this project. Other crates are not logged, because
/// their events may contain secrets.
const OURS: &str = "modelpack";
const VARIABLE: &str = "MODELPACK_LOG";

/// Starts the log. `verbose` is the number of `--verbose` flags. If it is zero, `filter` is the
/// value of `MODELPACK_LOG`, if set. Without both, `otherwise` is logged.
///
/// Fails if the filter is not valid.
pub fn start(verbose: u8, filter: Option<&str>, otherwise: LevelFilter, output: Output) -> Result<(), Failure> {
    let level = |level: LevelFilter| Targets::new().with_target(OURS, level);
    let targets = match (verbose, filter) {
        (0, None) if otherwise == LevelFilter::OFF => return Ok(()),
        (0, None) => level(otherwise),
        (0, Some(filter)) => parse(filter)?,
        (1, _) => level(LevelFilter::INFO),
        (_, _) => level(LevelFilter::DEBUG),
    };
    tracing::subscriber::set_global_default(Log { targets, output }).expect("it is started once");
    Ok(())
}

/// A filter: levels, and crates or modules with or without a level, separated by commas.
fn parse(filter: &str) -> Result<Targets, Failure> {
    let invalid = |why: String| {
        let hint = format!("set it as in {VARIABLE}=debug or {VARIABLE}=modelpack_http=debug,modelpack_server=info");
        Failure::new(Kind::Usage, format!("{VARIABLE}: {why}")).hint(hint)
    };
    let targets = Targets::from_str(filter).map_err(|e| invalid(format!("{filter:?} is not a filter: {e}")))?;
    match targets.iter().find(|(target, _)| !target.starts_with(OURS)) {
        Some((target, _)) => {
            Err(invalid(format!("{target:?} is neither a level (error, warn, info, debug, trace, off) nor a crate of {OURS}")))
        }
        None => Ok(targets),
    }
}

struct Log {
    targets: Targets,
    output: Output,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && metadata.target().starts_with(OURS) && self.targets.would_enable(metadata.target(), metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.targets.iter().map(|(_, level)| level).chain(self.targets.default_level()).max()
    }

    fn event(&self, event: &Event<'_>) {
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        let name = match *level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let text = fields.iter().fold(format!("log: {name}: {message}"), |text, (name, value)| format!("{text} {name}={}", shown(value)));
        let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.output.log(&text, &json!({ "log": { "level": name, "target": target, "message": message, "fields": fields } }));
    }

    // Spans are not used.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A value in a line of text, with quotes if it has several words.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"']) => value.to_string(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The content of an event.
#[derive(Default)]
struct Line {
    message: String,
    /// The fields in their order.
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_and_our_crates() {
        let enabled = |filter: &str| {
            let log = Log { targets: parse(filter).unwrap(), output: Output::default() };
            let is_enabled = |(target, level): &(&str, Level)| log.targets.would_enable(target, level);
            [("modelpack_http::origin", Level::INFO), ("modelpack_http::origin", Level::DEBUG), ("modelpack_server::service", Level::INFO)]
                .iter()
                .map(is_enabled)
                .collect::<Vec<_>>()
        };
        assert_eq!(enabled("info"), [true, false, true]);
        assert_eq!(enabled("DEBUG"), [true, true, true]);
        assert_eq!(enabled("modelpack_http=info"), [true, false, false]);
        assert_eq!(enabled("off,modelpack_http::origin=debug"), [true, true, false]);
        assert_eq!(enabled("warn,modelpack_server=info"), [false, false, true]);
        for bad in ["verbose", "info,hyper=trace", "modelpack_http=loud", "a=b=c"] {
            let failure = parse(bad).unwrap_err();
            assert!(failure.is(Kind::Usage) && failure.message().starts_with("MODELPACK_LOG: "), "{bad}: {}", failure.message());
        }
    }
}
