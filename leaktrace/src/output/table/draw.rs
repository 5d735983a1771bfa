//! The picture: a model on a screen of any size.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::model::Model;
use super::{head, help, sites};
use crate::output::escape::cut_end;

/// Draws the model on the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut lines = if model.help { help::lines(width) } else { page(model, width, height) };
    lines.truncate(height.saturating_sub(1));
    frame.render_widget(Paragraph::new(lines), area);
    if height > 1 {
        let bottom = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
        frame.render_widget(Paragraph::new(keys(model, width)), bottom);
    }
}

fn page(model: &Model, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = head::lines(model, width, height);
    let room = height.saturating_sub(lines.len() + 1);
    lines.extend(sites::lines(model, width, room));
    lines
}

fn keys(model: &Model, width: usize) -> Line<'static> {
    let keys = match (model.help, model.expanded) {
        (true, _) => " ? back   q end",
        (false, Some(_)) => " enter back   ↑↓ scroll   p pause   ? help   q end",
        (false, None) => " q end   ? help   ↑↓ select   enter stack   s sort   p pause",
    };
    Line::styled(cut_end(keys, width), Style::new().add_modifier(Modifier::DIM))
}

/// How important parts look; colours only where they are wanted, and never alone: words say the same.
#[derive(Clone, Copy)]
pub(super) struct Palette {
    colour: bool,
}

impl Palette {
    pub(super) fn of(model: &Model) -> Self {
        Self { colour: model.colour }
    }

    fn colour(self, colour: Color, style: Style) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red, Style::new().add_modifier(Modifier::BOLD))
    }

    pub(super) fn warn(self) -> Style {
        self.colour(Color::Yellow, Style::new())
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green, Style::new())
    }

    pub(super) fn accent(self) -> Style {
        self.colour(Color::Cyan, Style::new())
    }

    pub(super) fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn quiet() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// ` label     value`, the value cut to the width.
pub(super) fn labelled(label: &str, value: &str, style: Style, width: usize) -> Line<'static> {
    let label = format!(" {label:<9} ");
    let value = cut_end(value, width.saturating_sub(label.len()));
    Line::from(vec![Span::styled(label, Palette::quiet()), Span::styled(value, style)])
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use rstest::rstest;

    use super::super::model::Model;
    use super::draw;
    use crate::cli::Sort;
    use crate::output::fixture;
    use crate::output::record::{Header, Record};

    fn model(lost: u64, colour: bool) -> Model {
        let mut model = Model::new(Sort::Live, None, colour);
        for record in fixture::leaking_service(lost) {
            model.apply(&record);
        }
        model
    }

    fn screen(model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        terminal
    }

    #[rstest]
    #[case::usual(80, 24, 0)]
    #[case::large(120, 40, 1200)]
    #[case::tiny(40, 10, 1200)]
    fn the_table(#[case] width: u16, #[case] height: u16, #[case] lost: u64) {
        let name = format!("table_{width}x{height}_lost_{lost}");
        insta::assert_snapshot!(name, screen(&model(lost, false), width, height).backend());
    }

    #[test]
    fn colours_are_used_only_where_wanted() {
        insta::assert_debug_snapshot!("table_colour", screen(&model(1200, true), 80, 16).backend().buffer());
        let plain = screen(&model(1200, false), 80, 16);
        let colours = plain.backend().buffer().content().iter().filter(|cell| {
            cell.fg != ratatui::style::Color::Reset || cell.bg != ratatui::style::Color::Reset
        });
        assert_eq!(colours.count(), 0);
    }

    #[test]
    fn mappings_have_a_line_and_a_mark() {
        let mut model = model(0, false);
        let mut tick = fixture::tick(193.0, 1 << 20, 0);
        tick.mapped = Some(fixture::mapped());
        tick.sites.insert(0, fixture::mapping_site());
        model.apply(&Record::Tick(tick));
        insta::assert_snapshot!("table_mappings", screen(&model, 100, 20).backend());
    }

    #[test]
    fn an_expanded_stack() {
        let mut model = model(0, false);
        model.step(1);
        model.step(-1);
        model.toggle_stack();
        insta::assert_snapshot!("table_stack", screen(&model, 80, 24).backend());
    }

    #[test]
    fn help_and_pause() {
        let mut model = model(0, false);
        model.toggle_pause();
        insta::assert_snapshot!("table_paused", screen(&model, 80, 12).backend());
        model.help = true;
        insta::assert_snapshot!("table_help", screen(&model, 80, 24).backend());
    }

    #[test]
    fn nothing_yet() {
        let mut model = Model::new(Sort::Live, None, false);
        insta::assert_snapshot!("table_empty", screen(&model, 60, 8).backend());
        let hostile = Header { comm: "a\x1b[2J\nb".into(), ..fixture::header() };
        model.apply(&Record::Header(hostile));
        insta::assert_snapshot!("table_hostile", screen(&model, 80, 4).backend());
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut model = model(7, true);
        for expanded in [false, true] {
            if expanded {
                model.toggle_stack();
            }
            for width in [0, 1, 2, 5, 20, 59, 60, 79, 300] {
                for height in [0, 1, 2, 3, 7, 13, 60] {
                    screen(&model, width, height);
                }
            }
        }
    }
}
