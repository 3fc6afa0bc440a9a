//! `modelpack validate`: whether documents and artifacts are valid, and all that is wrong with them.

use crate::{
    args::{PlanArgs, RegistryArgs, TransferArgs},
    context::Context,
    failure::{Failure, Kind},
    text::{count, printable},
};
use modelpack::{Model, Subject, ValidateOptions, ValidateTarget, Validated, Validation, spec::json, validation::Document};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// Hold configs, manifests and artifacts to the specification, and show everything that is wrong with them
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack validate config.json ./layout registry.example.com/team/tiny:v1")]
pub struct Args {
    /// A JSON file, an OCI image layout directory, a model's directory, or an artifact; several may be given
    #[arg(value_name = "FILE|DIR|PLACE", required = true)]
    targets: Vec<PathBuf>,
    /// What a JSON file is, where its fields do not tell
    #[arg(long = "type", value_name = "TYPE")]
    document: Option<DocumentType>,
    /// Read the layers whose diffIds cannot be judged without: all compressed ones
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

/// A target, and what came of it.
struct Outcome<'a> {
    target: &'a Path,
    result: Result<Validated, Failure>,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let targets = args.targets.iter().map(|name| Ok((name, target(name, &args)?))).collect::<Result<Vec<_>, Failure>>()?;
    args.plan.expect_directory(targets.iter().any(|(_, target)| matches!(target, ValidateTarget::Model(Model::Files(_)))))?;
    if args.document.is_some() && !targets.iter().any(|(_, target)| matches!(target, ValidateTarget::File(..))) {
        return Err(Failure::new(Kind::Usage, "--type is for a JSON file, and none is given"));
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
    let said = outcomes.iter().map(Outcome::for_people).collect::<Vec<_>>().join("\n");
    context.output.result(&said, &Whole { valid: all_valid, targets: &outcomes })?;
    let failure = match &invalid[..] {
        [] => None,
        [only] => Some(format!("{} is not valid", only.display())),
        several => Some(format!("{} of {} are not valid", several.len(), count(outcomes.len(), "target"))),
    };
    if let Some(message) = failure {
        let hint = "correct what stands at each pointer; `modelpack pack` writes artifacts that are valid";
        return Err(Failure::new(Kind::Verification, message).hint(hint));
    }
    // What could not be read is a failure of its own, once the others are told.
    outcomes.into_iter().find_map(|outcome| outcome.result.err()).map_or(Ok(()), Err)
}

async fn validate(target: &ValidateTarget, args: &Args, context: &Context) -> Result<Validated, Failure> {
    let options = ValidateOptions::default().layers(args.read_layers);
    if !args.read_layers {
        return Ok(context.modelpack(&args.registry).validate(target, &options).await?);
    }
    let transfer = TransferArgs { registry: args.registry.clone(), concurrency: 1 };
    context.transfer("reading", &transfer, async |m| m.validate(target, &options).await).await
}

/// A file or directory that is there, or else a place.
fn target(name: &Path, args: &Args) -> Result<ValidateTarget, Failure> {
    if name.join("oci-layout").is_file() {
        return Ok(ValidateTarget::Layout(name.to_owned()));
    }
    // A pipe is read as a file is.
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

/// What came of all targets.
#[derive(Serialize)]
struct Whole<'a> {
    valid: bool,
    targets: &'a [Outcome<'a>],
}

/// What came of a target, or why it could not be read.
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

/// The verdict, and a line for each problem.
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
        lines.push(format!("  not looked at: the content of {layers}, which a diffId is the digest of; `--read-layers` reads it"));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}
