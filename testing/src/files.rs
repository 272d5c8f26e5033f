//! Looking for what must not be there.

use std::path::{Path, PathBuf};

/// All files below `folder` that hold `needle`.
pub fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, needle));
        } else if kind.is_file() {
            // Servers remove files of theirs at any time.
            let content = std::fs::read(&path).unwrap_or_default();
            if content.windows(needle.len()).any(|window| window == needle) {
                found.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_needle_is_found_in_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("with"), b"\0\xffxxneedle\0").unwrap();
        std::fs::write(deep.join("without"), b"need").unwrap();
        assert_eq!(super::files_with(folder.path(), b"needle"), [deep.join("with")]);
    }
}
