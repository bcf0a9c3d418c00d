-- Move dead letters to the retry stream of their group, as edited. Each moves once, however often this is sent.
-- KEYS  dead_letters, edits, retry     ARGV  1 to keep the attempts used up or 0 to count afresh, id...
-- Returns the ids that moved; others are gone, or hold no event.
local moved = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local letter = redis.call('XRANGE', KEYS[1], id, id)[1]
  local theirs, about = {}, {}
  for j = 1, letter and #letter[2] or 0, 2 do
    local name, value = letter[2][j], letter[2][j + 1]
    if name == 'raw.packed' then
      theirs = cmsgpack.unpack(value)
    elseif name:sub(1, 4) == 'raw.' then
      theirs[#theirs + 1], theirs[#theirs + 2] = name:sub(5), value
    else
      about[name] = value
    end
  end
  local edit, edited = letter and redis.call('HGET', KEYS[2], id), about.edited
  local event = place_of(theirs, 'event')
  if edit then
    event = event or #theirs + 2
    edited, theirs[event] = edit:match('^(%d+) (.*)$')
    theirs[event - 1] = 'event'
  end
  if event then
    local ours = {
      attempts = ARGV[1] == '1' and about.attempts or '0',
      origin = about.origin or id,
      failed = about.failed,
      replays = (about.replays or 0) + 1,
      edited = edited,
    }
    redis.call('XADD', KEYS[3], '*', unpack(joined(theirs, ours)))
    redis.call('XDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    moved[#moved + 1] = id
  end
end
return moved
