//! argv in, exit code out; everything between is [`flowgate::cli`].

fn main() {}
