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
    consumers::{CONSUMERS, Finding, Location, Report, Verdict},
};
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
    let mut linted = context.modelpack(&args.registry).lint(&target).await?;
    let reports = &mut linted.report.consumers;
    reports.retain(|report| args.wanted.is_empty() || args.wanted.iter().any(|id| id == report.consumer.id));
    context.output.result(&for_people(&linted.report), &linted)?;
    let reports = linted.report.consumers.iter();
    let unable: Vec<&str> = reports.filter(|report| report.verdict == Verdict::Cannot).map(|report| report.consumer.id).collect();
    if args.wanted.is_empty() || unable.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Other, format!("{} cannot use {}", unable.join(" and "), args.target.display())))
}

fn for_people(report: &Report) -> String {
    let header = ["CONSUMER", "VERDICT", "VERSIONS"].map(str::to_owned);
    let rows = report.consumers.iter().map(|report| {
        let consumer = report.consumer;
        [consumer.id.to_owned(), report.verdict.to_string(), format!("{} {}", consumer.name, consumer.versions)]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    let mut parts = vec![table([Align::Left; 3], &rows)];
    parts.extend((!report.model.is_empty()).then(|| explanation("the model itself", &report.model)));
    let findings = report.consumers.iter().filter(|report| !report.findings.is_empty());
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
            let name = path.clone().or_else(|| digest.as_ref().map(ToString::to_string));
            let name = name.map(|name| format!(", {name}")).unwrap_or_default();
            format!("layer {index}{name}, {field}")
        }
    };
    let line = format!("{at}: {}", finding.found);
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", printable(&line[..end])),
        None => printable(&line).into_owned(),
    }
}
