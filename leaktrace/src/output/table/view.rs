//! Keys become changes of the model, or wishes that only the session can fulfil.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Model;
use super::terminal::Request;

/// How far a page key goes.
const PAGE: isize = 10;

/// Applies an event of the terminal; returns what the session must do about it.
pub(super) fn handle(model: &mut Model, event: &Event) -> Option<Request> {
    // Anything else (resize, focus) only asks for a new picture.
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    press(model, *key)
}

fn press(model: &mut Model, key: KeyEvent) -> Option<Request> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Request::End);
    }
    match key.code {
        KeyCode::Char('q') => return Some(Request::End),
        KeyCode::Char('?' | 'h') => model.help = !model.help,
        KeyCode::Esc if model.help => model.help = false,
        KeyCode::Esc if model.expanded.is_some() => model.toggle_stack(),
        KeyCode::Up | KeyCode::Char('k') => model.step(-1),
        KeyCode::Down | KeyCode::Char('j') => model.step(1),
        KeyCode::PageUp => model.step(-PAGE),
        KeyCode::PageDown => model.step(PAGE),
        KeyCode::Enter | KeyCode::Char(' ') => model.toggle_stack(),
        KeyCode::Char('s') => return Some(Request::Sort(model.next_sort())),
        KeyCode::Char('p') => model.toggle_pause(),
        KeyCode::Char('g') => model.graph = model.graph.next(),
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
    use rstest::rstest;

    use super::super::model::Model;
    use super::super::terminal::Request;
    use super::handle;
    use crate::cli::Sort;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[rstest]
    #[case(key(KeyCode::Char('q')), Some(Request::End))]
    #[case(Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Request::End))]
    #[case(key(KeyCode::Char('s')), Some(Request::Sort(Sort::Growth)))]
    #[case(key(KeyCode::Char('c')), None)]
    #[case(Event::Resize(3, 4), None)]
    fn wishes_reach_the_session(#[case] event: Event, #[case] wish: Option<Request>) {
        assert_eq!(handle(&mut Model::new(Sort::Live, None, false), &event), wish);
    }

    #[test]
    fn another_history_is_shown() {
        let mut model = Model::new(Sort::Live, None, false);
        handle(&mut model, &key(KeyCode::Char('g')));
        assert_eq!(model.graph.label(), "resident");
    }

    #[test]
    fn escape_goes_back_one_step() {
        let mut model = Model::new(Sort::Live, None, false);
        handle(&mut model, &key(KeyCode::Char('?')));
        assert!(model.help);
        handle(&mut model, &key(KeyCode::Esc));
        assert!(!model.help);
    }
}
