//! How the binary is linked: such that it takes little memory on each node.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cold.ld");
    // A static binary moves itself at its start, and reads its whole list of places to do so: a third of a megabyte of
    // memory, or five kilobytes in the packed form (DT_RELR; binutils 2.38, glibc 2.36).
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/cold.ld");
}
