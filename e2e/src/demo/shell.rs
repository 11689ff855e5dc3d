//! What a person pastes into a shell.

/// As one word of a shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_any_name_is_one_word_of_the_shell() {
        assert_eq!(quoted("/tmp/leasehold-e2e-x1"), "/tmp/leasehold-e2e-x1");
        assert_eq!(quoted("/tmp/it's here"), r"'/tmp/it'\''s here'");
        assert_eq!(quoted("127.0.0.1:{8088+100*ordinal}"), "'127.0.0.1:{8088+100*ordinal}'");
    }
}
