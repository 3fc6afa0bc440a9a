//! `modelpack lint`: which tools can use an artifact, and what to change for the others.

use crate::{
    args::{PlanArgs, RegistryArgs},
    context::Context,
    failure::{Failure, Kind},
    text::{Align, printable, table},
};
use clap::builder::PossibleValuesParser;
use modelpack::{
    Model,
    consumers::{CONSUMERS, Consumer, ConsumerReport, Finding, Location, Verdict},
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The number of places that are shown for a rule. The JSON output has all of them.
const SHOWN: usize = 5;

/// The number of characters of a place that are shown, because a hostile annotation may have
/// megabytes.
const LINE: usize = 400;

/// Show which tools can use an artifact, or the artifact packed from a directory, and what to
/// change for the others
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack lint ./tiny --for oras --for cri-o")]
pub struct Args {
    /// The artifact, or a model's directory
    #[arg(value_name = "PLACE|DIR")]
    target: PathBuf,
    /// Check only this tool, and fail if it cannot use the artifact; repeatable
    #[arg(long = "for", value_name = "CONSUMER", value_parser = PossibleValuesParser::new(CONSUMERS.iter().map(|c| c.id)))]
    wanted: Vec<String>,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let target = args.plan.model(&args.target)?;
    args.plan.expect_directory(matches!(target, Model::Files(_)))?;
    let report = context.modelpack(&args.registry).lint(&target).await?;
    let asked = |consumer: &Consumer| args.wanted.is_empty() || args.wanted.iter().any(|id| id == consumer.id);
    let reports: Vec<&ConsumerReport> = report.consumers.iter().filter(|report| asked(report.consumer)).collect();
    let is_stored = matches!(target, Model::Place(_));
    let consumers: Vec<Value> = reports.iter().map(|report| for_programs(report, is_stored)).collect();
    let model: Vec<Value> = report.model.iter().map(|finding| finding_for_programs(finding, is_stored)).collect();
    let value = json!({ "target": args.target.to_string_lossy(), "model": model, "consumers": consumers });
    context.output.result(&for_people(&report.model, &reports), &value)?;
    let unable: Vec<&str> = reports.iter().filter(|report| report.verdict == Verdict::Cannot).map(|report| report.consumer.id).collect();
    if args.wanted.is_empty() || unable.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Other, format!("{} cannot use {}", unable.join(" and "), args.target.display())))
}

fn for_people(model: &[Finding], reports: &[&ConsumerReport]) -> String {
    let header = ["CONSUMER", "VERDICT", "VERSIONS"].map(str::to_owned);
    let rows = reports.iter().map(|report| {
        let consumer = report.consumer;
        [consumer.id.to_owned(), report.verdict.to_string(), format!("{} {}", consumer.name, consumer.versions)]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    let mut parts = vec![table([Align::Left; 3], &rows)];
    parts.extend((!model.is_empty()).then(|| explanation("the model itself", model)));
    let findings = reports.iter().filter(|report| !report.findings.is_empty());
    parts.extend(findings.map(|report| explanation(&format!("{}: {}", report.consumer.id, report.verdict), &report.findings)));
    parts.join("\n\n")
}

/// The findings, rule by rule.
fn explanation(heading: &str, findings: &[Finding]) -> String {
    let mut lines = vec![heading.to_owned()];
    for findings in findings.chunk_by(|a, b| a.rule.name == b.rule.name) {
        let rule = findings[0].rule;
        lines.push(format!("  {} ({}): {}", rule.name, rule.severity, rule.reason));
        lines.extend(findings.iter().take(SHOWN).map(|finding| format!("    {}", place_of(finding))));
        if findings.len() > SHOWN {
            lines.push(format!("    and {} more", findings.len() - SHOWN));
        }
        lines.push(format!("    change: {}", rule.change));
    }
    lines.join("\n")
}

fn place_of(finding: &Finding) -> String {
    let at = match &finding.location {
        Location::Manifest(pointer) => format!("manifest {pointer}"),
        Location::Config(pointer) => format!("config {pointer}"),
        Location::Layer { index, path, digest, field } => {
            format!("layer {index}, {}, {field}", path.clone().unwrap_or_else(|| digest.to_string()))
        }
    };
    let line = format!("{at}: {}", finding.found);
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", printable(&line[..end])),
        None => printable(&line).into_owned(),
    }
}

fn for_programs(report: &ConsumerReport, is_stored: bool) -> Value {
    let findings: Vec<Value> = report.findings.iter().map(|finding| finding_for_programs(finding, is_stored)).collect();
    let consumer = report.consumer;
    json!({
        "id": consumer.id, "name": consumer.name, "versions": consumer.versions,
        "verdict": report.verdict.to_string(), "findings": findings,
    })
}

fn finding_for_programs(finding: &Finding, is_stored: bool) -> Value {
    let at = match &finding.location {
        Location::Manifest(pointer) => json!({ "document": "manifest", "pointer": pointer }),
        Location::Config(pointer) => json!({ "document": "config", "pointer": pointer }),
        Location::Layer { index, path, digest, field } => {
            // The files of a directory were not hashed.
            let digest = is_stored.then(|| digest.to_string());
            json!({ "document": "manifest", "layer": index, "path": path, "digest": digest, "field": field })
        }
    };
    json!({
        "rule": finding.rule.name, "severity": finding.rule.severity.to_string(), "at": at, "found": finding.found,
        "reason": finding.rule.reason, "change": finding.rule.change,
    })
}
