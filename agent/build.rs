//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static binary moves itself at its start, and reads its whole list of places to do so: a third of a megabyte of
    // memory on every node, or ten kilobytes in the packed form (DT_RELR, binutils 2.38, glibc 2.36).
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
