//! Passes the command line to [`flowgate::cli`] and returns its exit code.

fn main() -> std::process::ExitCode {
    flowgate::cli::run(std::env::args_os())
}
