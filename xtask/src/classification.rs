//! `cargo xtask classification`: how good verdicts are; with `--fit`, the weights they rest on.

#[cfg(feature = "library")]
mod fit;

use anyhow::Result;
use clap::Args;

#[cfg(not(feature = "library"))]
use crate::workspace::{self, Profile};

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seed of the generated series; by default one that nothing was fitted on.
    #[arg(long)]
    seed: Option<u64>,
    /// How many series are generated.
    #[arg(long)]
    count: Option<usize>,
    /// Puts the tables into docs/classification.md.
    #[arg(long)]
    write: bool,
    /// Lists the series that were judged wrongly.
    #[arg(long)]
    errors: bool,
    /// Fits the weights of the decision and writes leaktrace/src/verdict/weights.rs; nothing is measured.
    #[arg(long, conflicts_with_all = ["seed", "count", "write", "errors"])]
    fit: bool,
}

/// Judges the series and prints the tables.
#[cfg(not(feature = "library"))]
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut arguments = vec!["classification".to_owned()];
    arguments.extend(options.seed.map(|seed| format!("--seed={seed}")));
    arguments.extend(options.count.map(|count| format!("--count={count}")));
    arguments.extend(options.write.then(|| "--write".to_owned()));
    arguments.extend(options.errors.then(|| "--errors".to_owned()));
    arguments.extend(options.fit.then(|| "--fit".to_owned()));
    workspace::run_with_library(Profile::Dev, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(feature = "library")]
pub(crate) use with_library::run;

#[cfg(feature = "library")]
mod with_library {
    use std::fs;

    use anyhow::Context as _;
    use leaktrace::verdict::{self, Circumstances, Samples};
    use leaktrace_corpus::scoring::Answer;
    use leaktrace_corpus::{
        DEFAULT_COUNT, Judged, Labelled, generate, recorded, replace_between_markers, seeds,
    };

    use super::{Options, Result};
    use crate::workspace;

    const PAGE: &str = "docs/classification.md";
    const WEIGHTS: &str = "leaktrace/src/verdict/weights.rs";

    /// Judges the series and prints the tables.
    pub(crate) fn run(options: &Options) -> Result<()> {
        if options.fit {
            let path = workspace::root().join(WEIGHTS);
            fs::write(&path, super::fit::fit()).with_context(|| format!("cannot write {WEIGHTS}"))?;
            println!("{WEIGHTS} is written: format it, and measure");
            return Ok(());
        }
        let seed = options.seed.unwrap_or(seeds::JUDGING);
        let series = generate(seed, options.count.unwrap_or(DEFAULT_COUNT));
        let generated = Judged::new(&series, judge);
        let series = recorded::load(&recorded::directory())?;
        let recorded = Judged::new(&series, judge);
        let text = leaktrace_corpus::report(seed, &generated, &recorded);
        println!("{text}");
        if options.errors {
            list_errors(&generated);
        }
        if options.write {
            let path = workspace::root().join(PAGE);
            let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
            let page = replace_between_markers(&page, &text)
                .with_context(|| format!("{PAGE} has lost the markers of its tables"))?;
            fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))?;
        }
        Ok(())
    }

    /// What leaktrace says of a bare series.
    fn judge(series: &Labelled) -> Answer {
        let samples = Samples::new(series.points.iter().map(|&(t, bytes)| (t, bytes as f64)));
        let judgement = verdict::judge(&samples, &Circumstances::default());
        let growth = judgement.growth.map(|growth| [growth.ci95.0, growth.bytes_per_s, growth.ci95.1]);
        Answer::new(&judgement.verdict, judgement.pattern.as_ref(), judgement.confidence, growth)
    }

    fn list_errors(judged: &Judged<'_>) {
        for (series, answer) in judged.wrong() {
            let said = answer.class.map_or("nothing", |class| class.name());
            let (name, count, ease) = (&series.name, series.points.len(), series.ease);
            println!("{name}: {said} at {:.2} ({count} points, ease {ease:.2})", answer.confidence);
        }
    }
}
