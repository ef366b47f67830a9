//! How the binary is linked: such that it takes little memory.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // As agent/build.rs says.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
