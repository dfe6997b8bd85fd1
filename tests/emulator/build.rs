//! Compiles `kernels/*.cu`, and the specimens of faults, as C++, all in one unit, behind a table of the kernels found in it.
//! Without a C++ compiler there is no table, and the crate says so.
//!
//! `EMULATOR_SANITIZE=1` adds AddressSanitizer and UBSan; the tests then need `LD_PRELOAD` of their runtimes (see `.ci/run`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(compiled, sanitized)");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=../../kernels");
    println!("cargo::rerun-if-env-changed=EMULATOR_SANITIZE");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut kernels: Vec<PathBuf> = fs::read_dir("../../kernels")
        .expect("the kernels lie beside the tests")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    kernels.sort();
    kernels.push("src/specimens.cu".into());
    let (file, mut unit, mut table) = (out.join("kernels.cpp"), String::from("#include \"cuda.h\"\n"), String::new());
    unit.push_str(&headers(Path::new("../../kernels")));
    for path in kernels {
        let stem = path.file_stem().expect("it has an extension").to_string_lossy().into_owned();
        fs::write(&file, format!("#include \"cuda.h\"\n#include \"{stem}.cu\"\n")).expect("OUT_DIR can be written");
        let Ok(text) = compiler().define("BRENIER_LIST", None).file(&file).try_expand() else {
            println!("cargo::warning=no C++ compiler: the kernels are not run on the host");
            return;
        };
        // Each file in a namespace of its own, because files may use the same names; extern "C" reaches through it.
        let _ = writeln!(unit, "namespace {stem}_file {{\n#include \"{stem}.cu\"");
        for (name, bound) in found(&String::from_utf8_lossy(&text)) {
            let _ = writeln!(unit, "constexpr unsigned {name}_bound = {bound};");
            let call = format!("Call<&{stem}_file::{name}>");
            let _ = writeln!(table, "{{\"{name}\", &{call}::run, {stem}_file::{name}_bound, {call}::sizes, {call}::count}},");
        }
        unit.push_str("}\n");
    }
    let _ = writeln!(unit, "namespace emulator {{\nconst Kernel KERNELS[] = {{\n{table}}};\n}}\n#include \"emulator.h\"");
    fs::write(&file, unit).expect("OUT_DIR can be written");
    compiler().file(&file).compile("emulator");
    println!("cargo::rustc-cfg=compiled");
    if sanitized() {
        println!("cargo::rustc-cfg=sanitized");
        println!("cargo::rustc-link-lib=asan");
        println!("cargo::rustc-link-lib=ubsan");
    }
}

fn sanitized() -> bool {
    env::var("EMULATOR_SANITIZE").is_ok_and(|value| value == "1")
}

/// Includes of the shared headers, in front of the namespaces.
fn headers(folder: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the kernels lie beside the tests")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".cuh"))
        .collect();
    names.sort();
    names.iter().map(|name| format!("#include \"{name}\"\n")).collect()
}

fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .include("src")
        .include("../../kernels")
        .define("BRENIER_HOST", None)
        .opt_level(2)
        .debug(false)
        .warnings(false);
    // Contraction off as on the device; what fuses says so. Warnings are the business of the device compiler.
    build.flag("-ffp-contract=off");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        build.flag_if_supported("-mfma");
    }
    if sanitized() {
        build
            .flag("-fsanitize=address,undefined")
            .flag("-fno-sanitize-recover=undefined")
            .flag("-g")
            .flag("-fno-omit-frame-pointer");
    }
    build
}

/// The kernels in preprocessed `text` and the largest block of each: there, `__global__` and `__launch_bounds__` stand as the
/// words BRENIER_GLOBAL and BRENIER_BOUNDS(n).
fn found(text: &str) -> Vec<(&str, &str)> {
    let mut kernels = Vec::new();
    for declaration in text.split("BRENIER_GLOBAL").skip(1) {
        let head = declaration.trim_start().trim_start_matches("void").trim_start();
        let (bounds, head) = match head.strip_prefix("BRENIER_BOUNDS(") {
            Some(rest) => rest.split_once(')').expect("a closed bracket"),
            None => ("1024", head),
        };
        // A second bound is the blocks of a multiprocessor.
        let bound = bounds.split(',').next().unwrap_or(bounds).trim();
        let name = head.trim_start().trim_start_matches("void").split('(').next().unwrap_or_default().trim();
        kernels.push((name, bound));
    }
    kernels
}
