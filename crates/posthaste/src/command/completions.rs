//! `posthaste completions`: completion of commands and flags in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::failure::Failure;

/// Prints completions for a shell, e.g. `posthaste completions bash > /etc/bash_completion.d/posthaste`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "posthaste", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::io("cannot write the completions"))
    }
}
