//! Secrets, read where they are kept when the component that needs one is built.

use weir_spec::value::Secret;

use crate::component::Places;
use crate::fault::Fault;

/// A key is a line; what is longer is none.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The text of a secret in `file:PATH` or `env:NAME`, without blanks around it.
pub fn reveal(secret: &Secret, places: &Places) -> Result<String, Fault> {
    let text = match secret.0.split_once(':') {
        Some(("file", path)) => {
            let path = places.to_read(path);
            let fail =
                |why: String| Fault::environment(format!("cannot read the secret in `{}`: {why}", path.display()));
            let meta = std::fs::metadata(&path).map_err(|error| fail(error.to_string()))?;
            if meta.len() > SECRET_BYTES_MAX {
                return Err(fail(format!("it has {} bytes", meta.len())));
            }
            std::fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?
        }
        Some(("env", name)) => std::env::var(name)
            .map_err(|_| Fault::environment(format!("the environment has no `{name}`, which is a secret here")))?,
        // A param's value: the secret itself.
        _ => secret.0.clone(),
    };
    let text = text.trim().to_string();
    if text.is_empty() {
        return Err(Fault::environment(format!("the secret in `{}` is empty", place(secret))));
    }
    Ok(text)
}

/// Where a secret is, without saying it.
fn place(secret: &Secret) -> &str {
    if secret.0.starts_with("file:") || secret.0.starts_with("env:") { &secret.0 } else { "a param" }
}
