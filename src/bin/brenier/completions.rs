//! `brenier completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{Failure, flags, output};

/// Print the completions of a shell
#[derive(Args)]
#[command(after_help = flags::examples(&[
    "brenier completions bash > ~/.local/share/bash-completion/completions/brenier",
    "brenier completions fish > ~/.config/fish/completions/brenier.fish",
]))]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    /// Prints them for `cli`.
    pub fn print(&self, cli: &mut Command) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, cli, "brenier", &mut script);
        output::print(String::from_utf8(script)?.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}
