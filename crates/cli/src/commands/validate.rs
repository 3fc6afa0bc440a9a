//! `modelpack validate`: checks documents and artifacts, and prints all problems.

use crate::{
    args::{PlanArgs, RegistryArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
    text::{count, printable},
};
use modelpack::{Model, Subject, ValidateOptions, ValidateTarget, Validated, Validation, spec::json, validation::Document};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// Check configs, manifests and artifacts against the specification, and show all problems
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack validate config.json ./layout registry.example.com/team/tiny:v1")]
pub struct Args {
    /// JSON files, OCI image layout directories, model directories or artifacts
    #[arg(value_name = "FILE|DIR|PLACE", required = true)]
    targets: Vec<PathBuf>,
    /// The type of a JSON file, if its fields do not determine it
    #[arg(long = "type", value_name = "TYPE")]
    document: Option<DocumentType>,
    /// Read the layers that are needed to check all diffIds: the compressed ones
    #[arg(long)]
    read_layers: bool,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DocumentType {
    Config,
    Manifest,
}

/// A target and its result.
struct Outcome<'a> {
    target: &'a Path,
    result: Result<Validated, Failure>,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let targets = args.targets.iter().map(|name| Ok((name, target(name, &args)?))).collect::<Result<Vec<_>, Failure>>()?;
    args.plan.expect_directory(targets.iter().any(|(_, target)| matches!(target, ValidateTarget::Model(Model::Files(_)))))?;
    if args.document.is_some() && !targets.iter().any(|(_, target)| matches!(target, ValidateTarget::File(..))) {
        return Err(Failure::new(Kind::Usage, "--type needs a JSON file, but none is given"));
    }
    let mut outcomes = Vec::new();
    for (name, target) in &targets {
        outcomes.push(Outcome { target: name, result: validate(target, &args, context).await });
    }
    if let [Outcome { result: Err(_), .. }] = &outcomes[..] {
        return outcomes.remove(0).result.map(|_| ());
    }
    let invalid: Vec<&Path> = outcomes.iter().filter(|outcome| outcome.is_invalid()).map(|outcome| outcome.target).collect();
    let all_valid = outcomes.iter().all(|outcome| outcome.result.is_ok()) && invalid.is_empty();
    let text = outcomes.iter().map(Outcome::for_people).collect::<Vec<_>>().join("\n");
    context.output.result(&text, &Whole { valid: all_valid, targets: &outcomes })?;
    let failure = match &invalid[..] {
        [] => None,
        [only] => Some(format!("{} is not valid", only.display())),
        several => Some(format!("{} of {} are not valid", several.len(), count(outcomes.len(), "target"))),
    };
    if let Some(message) = failure {
        let hint = "correct the value at each pointer; `modelpack pack` writes valid artifacts";
        return Err(Failure::new(Kind::Verification, message).hint(hint));
    }
    // A target that could not be read is a failure, which is returned after all results were
    // printed.
    outcomes.into_iter().find_map(|outcome| outcome.result.err()).map_or(Ok(()), Err)
}

async fn validate(target: &ValidateTarget, args: &Args, context: &Context) -> Result<Validated, Failure> {
    let options = ValidateOptions::default().layers(args.read_layers);
    if !args.read_layers {
        return Ok(context.modelpack(&args.registry).validate(target, &options).await?);
    }
    let transfer = TransferArgs::with(args.registry.clone());
    context.transfer("reading", &transfer, async |m| m.validate(target, &options).await).await
}

/// An existing file or directory, or else a place.
fn target(name: &Path, args: &Args) -> Result<ValidateTarget, Failure> {
    if name.join("oci-layout").is_file() {
        return Ok(ValidateTarget::Layout(name.to_owned()));
    }
    // A pipe is read like a file.
    if name.exists() && !name.is_dir() {
        let document = args.document.map(|document| match document {
            DocumentType::Config => Document::Config,
            DocumentType::Manifest => Document::Manifest,
        });
        return Ok(ValidateTarget::File(name.to_owned(), document));
    }
    args.plan.model(name).map(ValidateTarget::Model)
}

impl Outcome<'_> {
    fn is_invalid(&self) -> bool {
        self.result.as_ref().is_ok_and(|validated| !validated.valid)
    }

    fn for_people(&self) -> String {
        let target = self.target.display().to_string();
        match &self.result {
            Ok(validated) => validated.results.iter().map(|validation| explanation(&target, validation)).collect::<Vec<_>>().join("\n"),
            Err(failure) => printable(&format!("{target}: not read: {}", failure.message())).into_owned(),
        }
    }
}

/// The results for all targets.
#[derive(Serialize)]
struct Whole<'a> {
    valid: bool,
    targets: &'a [Outcome<'a>],
}

/// The result for a target, or the error if it could not be read.
impl Serialize for Outcome<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct NotRead<'a> {
            #[serde(serialize_with = "json::path")]
            target: &'a Path,
            valid: Option<bool>,
            error: &'a str,
        }
        match &self.result {
            Ok(validated) => validated.serialize(serializer),
            Err(failure) => NotRead { target: self.target, valid: None, error: failure.message() }.serialize(serializer),
        }
    }
}

/// The result, and one line for each problem.
fn explanation(target: &str, validation: &Validation) -> String {
    let subject = match &validation.subject {
        Subject::Document(document) => document.to_string(),
        Subject::Artifact(digest) => format!("artifact {digest}"),
        Subject::Planned => "artifact to be packed".to_owned(),
    };
    let report = &validation.report;
    let verdict = match report.problems.len() + report.omitted {
        0 => "valid".to_owned(),
        problems => format!("not valid, {}", count(problems, "problem")),
    };
    let mut lines = vec![format!("{target}: {subject}: {verdict}")];
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    if report.omitted > 0 {
        lines.push(format!("  and {} more", report.omitted));
    }
    if !report.unread.is_empty() {
        let layers = count(report.unread.len(), "layer");
        lines.push(format!("  not checked: the content of {layers} against its diffId; `--read-layers` checks it"));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}
