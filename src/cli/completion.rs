//! `coracle completion`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self) -> Result<(), String> {
        clap_complete::generate(self.shell, &mut super::Cli::command(), "coracle", &mut std::io::stdout());
        Ok(())
    }
}
