//! Every lane operation is an instruction, in any profile: one that a closure takes out of the function with the instruction set
//! becomes a call, keeps what it touches in memory, and costs a kernel up to three times its time.

use std::path::Path;
use std::process::Command;

/// Vector intrinsics of AVX and AVX-512 that are functions of their own in `program`.
fn intrinsics_left(program: &Path) -> Option<Vec<String>> {
    let listed = Command::new("nm").arg("-C").arg(program).output().ok()?;
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let symbols = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(symbols.contains("backend::cpu"), "{} has no symbols", program.display());
    let is_vector = |line: &&str| line.contains("core_arch::x86") && ["_mm256", "_mm512"].iter().any(|name| line.contains(name));
    Some(symbols.lines().filter(is_vector).map(String::from).collect())
}

#[test]
fn no_vector_intrinsic_is_a_function_of_its_own() {
    let this = std::env::current_exe().unwrap();
    for program in [this.as_path(), Path::new(env!("CARGO_BIN_EXE_brenier"))] {
        match intrinsics_left(program) {
            Some(left) => assert!(left.is_empty(), "{}: {left:#?}", program.display()),
            None => eprintln!("skipped: nm, which lists the symbols of a program, is not here"),
        }
    }
}
