//! Any bytes as the body of a write, as a file of initial data, and as a command of the log.

use super::contents;
use crate::api::person::{self, NAME_CHARACTERS_MAX, Person, Stored};
use leasehold_documents::{Command, CommandError, Documents, Outcome};
use leasehold_replication::Position;
use uuid::Uuid;

/// What is taken has one form, which is taken again as the same; what is refused is refused with a place and a word.
pub fn person(data: &[u8]) {
    body(data);
    initial(data);
    command(data);
}

fn body(data: &[u8]) {
    match Person::parse(data) {
        Ok(person) => {
            let id = person.id.unwrap_or(Uuid::from_u128(5));
            let text = person.to_json(id);
            let again = Person::parse(text.as_bytes()).expect("our own form is taken");
            assert_eq!((again.id, again.to_json(id)), (Some(id), text.clone()));
            let stored: Stored<'_> = serde_json::from_str(&text).expect("our own form is read");
            for name in [&stored.first_name, &stored.last_name] {
                assert!((1..=NAME_CHARACTERS_MAX).contains(&name.chars().count()));
            }
            // Escapes of one character take twelve bytes at most, and no more than three fields are accepted.
            assert!(text.len() <= 2 * 6 * data.len() + 128, "much was made of little");
        }
        Err(problem) => {
            let status = problem.code().status();
            assert!(status.is_client_error(), "{problem:?}");
            assert!(!problem.detail().is_empty());
            assert_eq!(problem.into_response().status(), status);
        }
    }
}

fn initial(data: &[u8]) {
    let Ok(commands) = person::initial_data(data) else { return };
    let mut documents = Documents::new();
    for (seq, command) in (1..).zip(&commands) {
        assert_eq!(documents.apply(Position::new(0, seq), command, &mut Vec::new()).unwrap().outcome, Outcome::Created);
    }
    let stored = documents.collection(person::COLLECTION).map_or(0, |persons| persons.len());
    assert_eq!(stored, commands.len());
}

fn command(data: &[u8]) {
    let mut documents = Documents::new();
    match Command::decode(data) {
        Ok(command) => {
            assert_eq!(&command.encode(data[0].into())[..], data, "a command that was read is written otherwise");
            let answer = documents.apply(Position::new(1, 1), data, &mut Vec::new()).unwrap();
            // Since format 2 some things are known to be wrong only where the definition is: ids of another kind.
            assert!(data[0] > 1 || !matches!(answer.outcome, Outcome::Invalid(_)));
            let before = contents(&documents);
            // The same again, where nothing is in its way: the state of all replicas is decided by the log alone.
            let mut other = Documents::new();
            assert_eq!(other.apply(Position::new(1, 1), data, &mut Vec::new()), Ok(answer));
            assert_eq!(contents(&other), before);
        }
        Err(CommandError::Unknown(unknown)) => {
            assert_eq!(Command::check_known(data), Err(unknown));
            assert_eq!(documents.apply(Position::new(1, 1), data, &mut Vec::new()), Err(unknown));
            assert_eq!(documents.applied(), Position::ZERO, "nothing was done");
            return;
        }
        Err(CommandError::TooLarge) => {
            let answer = documents.apply(Position::new(1, 1), data, &mut Vec::new()).unwrap();
            assert_eq!(answer.outcome, Outcome::EntryTooLarge);
        }
        Err(CommandError::Short | CommandError::Content(_)) => {
            let answer = documents.apply(Position::new(1, 1), data, &mut Vec::new()).unwrap();
            assert!(matches!(answer.outcome, Outcome::Invalid(_)));
        }
    }
    assert_eq!(documents.applied(), Position::new(1, 1));
}
