//! `cargo xtask libtorch`: finds or sets up the libtorch that the backend `tch` needs, and says what to export.
//!
//! In this order: the directory that LIBTORCH names, the download that tch's own build makes, a PyTorch that
//! the Python on the PATH has, a PyTorch in a private Python environment under the build directory. A PyTorch
//! holds a whole libtorch: headers and libraries.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::workspace::{self, step};

/// The version that tch in Cargo.lock is made for.
const WANTED: &str = "2.9.0";

/// Prints version and directory of an installed PyTorch, without the seconds that importing it takes.
const FIND_TORCH: &str = "import importlib.metadata as m, importlib.util as u; \
                          print(m.version('torch')); print(u.find_spec('torch').submodule_search_locations[0])";

/// Options of `cargo xtask libtorch`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Python to look for PyTorch in, and to make a private environment with
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Do not look elsewhere: set up the private environment
    #[arg(long)]
    private: bool,
}

/// Finds or sets up libtorch; stdout gets the line to evaluate in a shell, if one is needed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.private {
        if let Some(given) = env::var_os("LIBTORCH") {
            let path = PathBuf::from(given);
            check(&path).context("LIBTORCH is set, but not to a libtorch that tch can use")?;
            eprintln!("LIBTORCH is libtorch {WANTED}");
            return tell(&path);
        }
        match download_answers() {
            Ok(()) => {
                eprintln!(
                    "nothing to export: the build downloads libtorch {WANTED} by itself; to use another, set LIBTORCH"
                );
                return tell_command();
            }
            Err(reason) => eprintln!("the download that tch makes does not work here: {reason:#}"),
        }
        match installed(&args.python) {
            Ok((version, path)) if same(&version) => {
                eprintln!("{} has PyTorch {version}", args.python);
                return tell(&path);
            }
            Ok((version, _)) => eprintln!("{} has PyTorch {version}; wanted is {WANTED}", args.python),
            Err(_) => eprintln!("{} has no PyTorch", args.python),
        }
    }
    let path = private(&args.python).context(
        "libtorch could not be set up; install it by hand (https://pytorch.org/get-started/previous-versions) and \
         set LIBTORCH to its directory",
    )?;
    tell(&path)
}

/// What to export for the libtorch at `path`.
fn tell(path: &Path) -> Result<()> {
    let text = path.to_str().with_context(|| format!("{} is no text that a shell takes", path.display()))?;
    println!("export LIBTORCH='{}'", text.replace('\'', "'\\''"));
    tell_command()
}

fn tell_command() -> Result<()> {
    eprintln!("then: cargo run -p mnist-cli --features tch -- train");
    Ok(())
}

/// Whether `path` holds a libtorch of the wanted version.
fn check(path: &Path) -> Result<()> {
    let version = version(path)?;
    if !same(&version) {
        bail!("{} is libtorch {version}; wanted is {WANTED}", path.display());
    }
    let library =
        path.join("lib").join(format!("{}torch_cpu{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
    if !library.exists() {
        bail!("{} is not there", library.display());
    }
    Ok(())
}

/// What a libtorch says of its version: `build-version` in a download, `version.py` in a PyTorch.
fn version(path: &Path) -> Result<String> {
    if let Ok(text) = fs::read_to_string(path.join("build-version")) {
        return Ok(text.trim().to_owned());
    }
    let text = fs::read_to_string(path.join("version.py"))
        .with_context(|| format!("{} has no file build-version or version.py", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__ = "));
    let version = line.map(|v| v.trim_matches(['\'', '"']).to_owned());
    version.with_context(|| format!("{} names no __version__", path.join("version.py").display()))
}

/// Whether a version is the wanted one; `+cpu` and `+cu128` say only what it was built for.
fn same(version: &str) -> bool {
    version.split('+').next() == Some(WANTED)
}

/// Whether the archive that torch-sys would download can be had.
fn download_answers() -> Result<()> {
    let url = match env::consts::OS {
        "linux" if env::consts::ARCH == "x86_64" => {
            format!("https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-{WANTED}%2Bcpu.zip")
        }
        "macos" if env::consts::ARCH == "aarch64" => format!("https://pypi.org/pypi/torch/{WANTED}/json"),
        "windows" => {
            format!(
                "https://download.pytorch.org/libtorch/cpu/libtorch-win-shared-with-deps-{WANTED}%2Bcpu.zip"
            )
        }
        system => bail!("there is none for {system} on {}", env::consts::ARCH),
    };
    let curl = ["--silent", "--show-error", "--fail", "--location", "--head", "--max-time", "20", "--output"];
    let null = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let output = Command::new("curl").args(curl).args([null, &url]).output().context("cannot start curl")?;
    if !output.status.success() {
        bail!("{url}: {}", workspace::reason(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}

/// Version and directory of the PyTorch that a Python has.
fn installed(python: impl AsRef<std::ffi::OsStr>) -> Result<(String, PathBuf)> {
    let output = Command::new(python).args(["-c", FIND_TORCH]).output().context("cannot start Python")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match (output.status.success(), text.trim().split_once('\n')) {
        (true, Some((version, path))) => Ok((version.trim().to_owned(), path.trim().into())),
        _ => bail!("{}", workspace::reason(&String::from_utf8_lossy(&output.stderr))),
    }
}

/// A PyTorch in an environment of its own, made if it is not there.
fn private(python: &str) -> Result<PathBuf> {
    let home = workspace::target_directory()?.join(format!("libtorch-{WANTED}"));
    let inside = if cfg!(windows) { home.join("Scripts/python.exe") } else { home.join("bin/python") };
    let ready = || installed(&inside).ok().filter(|(version, path)| same(version) && check(path).is_ok());
    if let Some((_, path)) = ready() {
        eprintln!("{} has PyTorch {WANTED}", home.display());
        return Ok(path);
    }
    eprintln!("installing PyTorch {WANTED} into {} (up to 3 GB to download, then 7 GB)", home.display());
    step(Command::new(python).args(["-m", "venv", "--clear"]).arg(&home), "make a Python environment")?;
    let torch = format!("torch=={WANTED}");
    step(Command::new(&inside).args(["-m", "pip", "install", &torch]), "install PyTorch")?;
    match ready() {
        Some((_, path)) => Ok(path),
        None => bail!("pip installed no PyTorch {WANTED} in {}", home.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libtorch(name: &str, file: &str, text: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("lib")).unwrap();
        fs::write(path.join(file), text).unwrap();
        path
    }

    #[test]
    fn a_wrong_version_is_named_with_found_and_wanted() {
        for (name, file, text, found) in [
            ("zip", "build-version", "2.5.1+cpu\n", "2.5.1+cpu"),
            (
                "pip",
                "version.py",
                "from x import y\n__version__ = '2.8.0+cu128'\ndebug = False\n",
                "2.8.0+cu128",
            ),
        ] {
            let path = libtorch(name, file, text);
            let error = check(&path).unwrap_err().to_string();
            fs::remove_dir_all(&path).unwrap();
            assert!(error.contains(&format!("is libtorch {found}; wanted is {WANTED}")), "{error}");
        }
    }

    #[test]
    fn a_directory_without_libraries_is_no_libtorch() {
        let path = libtorch("empty", "build-version", &format!("{WANTED}+cpu"));
        let error = check(&path).unwrap_err().to_string();
        fs::remove_dir_all(&path).unwrap();
        assert!(error.contains("torch_cpu") && error.ends_with("is not there"), "{error}");
        assert!(check(&path).unwrap_err().to_string().contains("no file build-version"));
    }

    #[test]
    fn the_version_is_that_of_the_tch_in_cargo_lock() {
        let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap();
        assert!(lock.contains("name = \"torch-sys\"\nversion = \"0.22.0\""), "see WANTED");
    }
}
