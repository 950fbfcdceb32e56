//! argv in, exit code out; everything between is [`flowgate::cli`].

fn main() -> std::process::ExitCode {
    flowgate::cli::run(std::env::args_os())
}
