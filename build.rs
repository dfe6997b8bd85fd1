//! Finds NVRTC, compiles `kernels/*.cu` for every architecture, and writes one table that the crate includes.
//!
//! Without NVRTC the table is empty, one warning says so, and `--device cuda` tells how to get it; `REQUIRE_KERNELS=1` makes that
//! an error. A kernel that does not compile is always an error.

#[cfg(feature = "cuda")]
#[path = "src/backend/cuda/nvrtc.rs"]
mod nvrtc;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    kernels::build();
}

#[cfg(feature = "cuda")]
mod kernels {
    use std::collections::BTreeSet;
    use std::env;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cudarc::nvrtc::sys;

    use crate::nvrtc;

    /// Machine code for each of these; and PTX, which a driver translates for all that come after the first.
    const ARCHS: [u32; 6] = [80, 86, 89, 90, 100, 120];
    const PTX: &str = "compute_80";

    /// Why there are no kernels.
    enum Failure {
        /// There is no NVRTC.
        Absent,
        /// There is one, and it did not do what it should.
        Broken(String),
    }

    pub fn build() {
        println!("cargo::rerun-if-changed=kernels");
        println!("cargo::rerun-if-changed=src/backend/cuda/nvrtc.rs");
        for name in ["NVRTC_DIR", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "REQUIRE_KERNELS"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let required = env::var("REQUIRE_KERNELS").is_ok_and(|value| value != "0" && !value.is_empty());
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let absent = "libnvrtc was not found: pip install nvidia-cuda-nvrtc-cu12==12.9.86 into an active virtual environment, \
                      or set NVRTC_DIR or CUDA_HOME";
        let written = match compile_all(&out) {
            Err(Failure::Absent) if !required => {
                println!("cargo::warning=no CUDA kernels in this build, it runs on the processor alone: {absent}");
                write_table(&out, None, &[])
            }
            Ok((version, files)) => write_table(&out, Some(version), &files),
            Err(Failure::Absent) => Err(absent.into()),
            Err(Failure::Broken(why)) => Err(why),
        };
        if let Err(why) = written {
            why.lines().for_each(|line| println!("cargo::error={line}"));
        }
    }

    /// The version of NVRTC, and for each file its name and the architectures made.
    type Compiled = ((i32, i32), Vec<(String, Vec<u32>)>);

    /// Compiles every file of `kernels/`.
    fn compile_all(out: &Path) -> Result<Compiled, Failure> {
        let _held = open_nvrtc();
        // Without a library any other call panics.
        if !unsafe { sys::is_culib_present() } {
            return Err(Failure::Absent);
        }
        let (mut major, mut minor) = (0, 0);
        unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
        let known = supported();
        let (made, unknown): (Vec<u32>, Vec<u32>) = ARCHS.into_iter().partition(|arch| known.contains(&(*arch as i32)));
        if !unknown.is_empty() {
            println!("cargo::warning=NVRTC {major}.{minor} knows no sm_{unknown:?}; those devices will use PTX");
        }
        let names = files("cu").map_err(Failure::Broken)?;
        let targets = || std::iter::once(None).chain(made.iter().copied().map(Some));
        let jobs: Vec<(&String, Option<u32>)> = names.iter().flat_map(|name| targets().map(move |arch| (name, arch))).collect();
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, |count| count.get()) {
                scope.spawn(|| {
                    while let Some(&(name, arch)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(why) = compile(name, arch, out) {
                            failures.lock().expect("no panic holds it").push(why);
                        }
                    }
                });
            }
        });
        // The first failure of a file says it all; the others are the same for the other architectures.
        match failures.into_inner().expect("no panic holds it").into_iter().next() {
            Some(why) => Err(Failure::Broken(why)),
            None => Ok(((major, minor), names.into_iter().map(|name| (name, made.clone())).collect())),
        }
    }

    /// One file for one architecture, or PTX.
    fn compile(name: &str, arch: Option<u32>, out: &Path) -> Result<(), String> {
        let path = format!("kernels/{name}.cu");
        let source = fs::read_to_string(&path).map_err(|why| format!("{path}: {why}"))?;
        let target = arch.map_or(PTX.into(), |arch| format!("sm_{arch}"));
        let made = nvrtc::compile(&path, &source, &target, &["--include-path=kernels", "--ptxas-options=-v"].map(String::from))?;
        if arch.is_none() {
            made.log.lines().filter(|line| line.contains("warning")).for_each(|line| println!("cargo::warning={line}"));
        }
        let (file, bytes) = match arch {
            Some(_) => (format!("{name}.{target}.cubin"), made.cubin),
            None => (format!("{name}.ptx"), made.ptx),
        };
        // The log has the registers: tests/resources/sheet.py reads it.
        let written = fs::write(out.join(format!("{file}.log")), made.log).and_then(|()| fs::write(out.join(&file), bytes));
        written.map_err(|why| format!("{file}: {why}"))
    }

    /// The architectures that the library compiles for.
    fn supported() -> Vec<i32> {
        let mut count = 0;
        unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) };
        let mut archs = vec![0; count as usize];
        unsafe { sys::nvrtcGetSupportedArchs(archs.as_mut_ptr()) };
        archs
    }

    /// Names of the files of `kernels/` with this extension, without it, in order.
    fn files(extension: &str) -> Result<Vec<String>, String> {
        let listed = fs::read_dir("kernels").map_err(|why| format!("kernels: {why}"))?;
        let mut names: Vec<String> = listed
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The source of `path` with its includes in place, once each: what NVRTC needs at run time.
    fn flat(path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<String, String> {
        if !seen.insert(path.into()) {
            return Ok(String::new());
        }
        let text = fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let mut whole = String::new();
        for line in text.lines().filter(|line| line.trim() != "#pragma once") {
            match line.trim().strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
                Some(name) => whole.push_str(&flat(&Path::new("kernels").join(name), seen)?),
                None => {
                    whole.push_str(line);
                    whole.push('\n');
                }
            }
        }
        Ok(whole)
    }

    /// `kernels.rs`: always there, so that the crate needs no `cfg` of its own.
    fn write_table(out: &Path, version: Option<(i32, i32)>, made: &[(String, Vec<u32>)]) -> Result<(), String> {
        let mut table = format!("pub const NVRTC: Option<(i32, i32)> = {version:?};\npub static MODULES: &[Module] = &[\n");
        for name in files("cu")? {
            let source = flat(&Path::new("kernels").join(format!("{name}.cu")), &mut BTreeSet::new())?;
            let flat = out.join(format!("{name}.flat.cu"));
            fs::write(&flat, source).map_err(|why| format!("{}: {why}", flat.display()))?;
            let archs = made.iter().find(|(made, _)| *made == name).map_or(&[][..], |(_, archs)| archs);
            let ptx = if version.is_some() {
                format!("Some(include_str!({:?}))", out.join(format!("{name}.ptx")))
            } else {
                "None".into()
            };
            let cubins: String = archs.iter().fold(String::new(), |mut cubins, arch| {
                let _ =
                    write!(cubins, "({arch}, &Aligned(*include_bytes!({:?}))), ", out.join(format!("{name}.sm_{arch}.cubin")));
                cubins
            });
            let _ =
                writeln!(table, "Module {{ name: {name:?}, source: include_str!({flat:?}), ptx: {ptx}, cubins: &[{cubins}] }},");
        }
        table.push_str("];\n");
        fs::write(out.join("kernels.rs"), table).map_err(|why| format!("kernels.rs: {why}"))
    }

    /// Opens libnvrtc by its full path and keeps it: the loader then finds it by name, where cudarc asks. Its builtins come first,
    /// because NVRTC asks for those by name too.
    fn open_nvrtc() -> Vec<libloading::Library> {
        let mut folders: Vec<PathBuf> = env::var_os("NVRTC_DIR").into_iter().map(PathBuf::from).collect();
        for root in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from) {
            folders.extend(["lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"].map(|lib| root.join(lib)));
        }
        if let Some(root) = env::var_os("VIRTUAL_ENV").map(PathBuf::from) {
            for python in fs::read_dir(root.join("lib")).into_iter().flatten().flatten() {
                let wheels = python.path().join("site-packages/nvidia");
                folders.extend(["cuda_nvrtc/lib", "cu13/lib"].map(|lib| wheels.join(lib)));
            }
        }
        let libraries = |folder: &PathBuf| {
            let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
            files.retain(|file| {
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                name.starts_with("libnvrtc") && name.contains(".so.") && !name.contains(".alt.")
            });
            files.sort(); // "libnvrtc-builtins" before "libnvrtc.so"
            files.iter().filter_map(|file| unsafe { libloading::Library::new(file) }.ok()).collect::<Vec<_>>()
        };
        folders.iter().map(libraries).find(|opened| !opened.is_empty()).unwrap_or_default()
    }
}
