//! `brenier devices`: where the arithmetic can run.

use std::process::ExitCode;

use brenier::backend::cpu::Isa;
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count};
use crate::session::Session;
use crate::{Failure, flags, machine};

const NO_CUDA: &str = "this build of brenier has no CUDA backend";

/// List the devices that work can be sent to
#[derive(Args)]
#[command(after_help = flags::examples(&["brenier devices", "brenier devices --json"]))]
pub struct Devices {}

#[derive(Serialize)]
struct Record {
    command: &'static str,
    version: &'static str,
    devices: Vec<Found>,
    /// Architectures that CUDA kernels were compiled for.
    kernels: Vec<String>,
    /// Why there is no CUDA; null when there is.
    cuda: Option<&'static str>,
}

#[derive(Serialize)]
struct Found {
    device: &'static str,
    name: String,
    /// Bytes; null where the system does not say.
    memory: Option<u64>,
    instructions: &'static str,
    threads: usize,
}

impl Devices {
    /// Lists them.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let cpu = Found {
            device: "cpu",
            name: machine::processor(),
            memory: machine::total_memory(),
            instructions: match Isa::detect() {
                Isa::Plain => "plain",
                Isa::Avx2 => "avx2+fma",
                Isa::Avx512 => "avx512f",
            },
            threads: rayon::current_num_threads(),
        };
        let mut summary = Summary::new("devices".into());
        summary.line("cpu", &cpu.name, "");
        let memory = cpu.memory.map(|bytes| format!(", {} MiB of memory", count((bytes >> 20) as usize)));
        let about = format!("{} threads, {}{}", cpu.threads, cpu.instructions, memory.unwrap_or_default());
        summary.line("", about, "");
        summary.line("cuda", format!("none: {NO_CUDA}"), "");
        let record = Record {
            command: "devices",
            version: env!("CARGO_PKG_VERSION"),
            devices: vec![cpu],
            kernels: Vec::new(),
            cuda: Some(NO_CUDA),
        };
        session.finish(&record, session.folder(None)?.as_ref(), &summary.text())
    }
}
