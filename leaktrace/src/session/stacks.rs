//! Files with the call sites of a trace: made sure of before it, written after it.

use std::{collections::HashSet, fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

use super::pipeline::Pipeline;
use crate::{
    cli::StackOptions,
    error::{ExitCode, Failure},
    output::{dump::create_private, stacks},
};

/// Creates the files that are asked for, so that none turns out to be impossible at the end. None may be `input`, which
/// is read meanwhile, nor two the same.
pub(super) fn create(options: &StackOptions, input: Option<&Path>) -> Result<(), Failure> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let input = input.and_then(|path| path.metadata().ok()).map(identity);
    let mut created = HashSet::new();
    for path in options.files() {
        if input.is_some() && path.metadata().ok().map(identity) == input {
            let message =
                format!("refused to write {}: it is the recording; choose another path", path.display());
            return Err(Failure::new(ExitCode::Usage, message));
        }
        let found = create_private(path)?.metadata().map_err(|error| {
            let message = format!("could not create {}: {error}; choose another path", path.display());
            Failure::new(ExitCode::OutputFailed, message)
        })?;
        if !created.insert(identity(found)) {
            let message =
                format!("{} cannot be two files at once: choose another path for one", path.display());
            return Err(Failure::new(ExitCode::Usage, message));
        }
    }
    Ok(())
}

/// Writes the files that are asked for, with the call sites as they are now.
pub(super) fn write(pipeline: &Pipeline, options: &StackOptions) -> Result<(), Failure> {
    if options.is_none() {
        return Ok(());
    }
    stacks::write(&pipeline.stacks(), options)
}
