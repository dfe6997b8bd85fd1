//! `brenier devices`: where the arithmetic can run.

use std::process::ExitCode;

use brenier::backend::Device;
use brenier::backend::cpu::Isa;
use clap::Args;
use serde::Serialize;

use crate::output::{Summary, count};
use crate::session::Session;
use crate::{Failure, flags, machine};

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
    cuda: Option<String>,
}

#[derive(Serialize)]
struct Found {
    device: String,
    name: String,
    /// Bytes; null where the system does not say.
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<usize>,
    /// CUDA version of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    /// Architecture, as sm_90.
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multiprocessors: Option<u32>,
}

/// The processor, as a device.
fn processor() -> Found {
    Found {
        device: "cpu".into(),
        name: machine::processor(),
        memory: machine::total_memory(),
        instructions: Some(match Isa::detect() {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2+fma",
            Isa::Avx512 => "avx512f",
        }),
        threads: Some(rayon::current_num_threads()),
        driver: None,
        architecture: None,
        multiprocessors: None,
    }
}

/// The GPUs, as devices; or why there are none.
fn gpus() -> Result<Vec<Found>, String> {
    let gpus = Device::gpus().map_err(|why| why.to_string())?;
    if gpus.is_empty() {
        return Err("the driver sees no GPU".into());
    }
    let found = gpus.into_iter().map(|gpu| Found {
        device: format!("cuda:{}", gpu.ordinal),
        name: gpu.name,
        memory: Some(gpu.memory),
        instructions: None,
        threads: None,
        driver: Some(format!("CUDA {}", gpu.driver)),
        architecture: Some(format!("sm_{}{}", gpu.chip.capability[0], gpu.chip.capability[1])),
        multiprocessors: Some(gpu.chip.multiprocessors),
    });
    Ok(found.collect())
}

/// Name of the chip that `device` is.
pub fn chip_name(device: &Device) -> String {
    let of_gpu = gpus().ok().and_then(|gpus| gpus.into_iter().find(|gpu| gpu.device == device.name()));
    of_gpu.map_or_else(machine::processor, |gpu| gpu.name)
}

impl Devices {
    /// Lists them.
    pub fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let mut devices = vec![processor()];
        let absence = gpus().map(|gpus| devices.extend(gpus)).err();
        let kernels = Device::kernels();
        let mut summary = Summary::new("devices".into());
        for found in &devices {
            summary.line(&found.device, &found.name, "");
            let parts = [
                found.threads.map(|threads| format!("{threads} threads")),
                found.instructions.map(String::from),
                found.multiprocessors.map(|count| format!("{count} multiprocessors")),
                found.architecture.clone(),
                found.driver.as_ref().map(|driver| format!("driver of {driver}")),
                found.memory.map(|bytes| format!("{} MiB of memory", count((bytes >> 20) as usize))),
            ];
            summary.line("", parts.into_iter().flatten().collect::<Vec<_>>().join(", "), "");
        }
        if let Some(why) = &absence {
            summary.line("cuda", format!("none: {why}"), "");
        }
        let carried = if kernels.is_empty() { "none".into() } else { kernels.join(" ") };
        summary.line("kernels", carried, "");
        let record = Record { command: "devices", version: env!("CARGO_PKG_VERSION"), devices, kernels, cuda: absence };
        session.finish(&record, session.folder(None)?.as_ref(), &summary.text())
    }
}
