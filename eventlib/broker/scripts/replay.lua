-- Move dead letters to the retry stream of their group, as edited. Each moves once, however often this is sent.
-- KEYS  dead_letters, edits, retry     ARGV  1 to keep the count of attempts or 0 to begin a new one, id...
-- Returns the ids that moved. The other dead letters are gone, or hold no event.
local moved = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local dead_letter = redis.call('XRANGE', KEYS[1], id, id)[1]
  local published, details = {}, {}
  for j = 1, dead_letter and #dead_letter[2] or 0, 2 do
    local name, value = dead_letter[2][j], dead_letter[2][j + 1]
    if name == 'raw.packed' then
      published = cmsgpack.unpack(value)
    elseif name:sub(1, 4) == 'raw.' then
      published[#published + 1], published[#published + 2] = name:sub(5), value
    else
      details[name] = value
    end
  end
  local edit, edited = dead_letter and redis.call('HGET', KEYS[2], id), details.edited
  local event = value_index(published, 'event')
  if edit then
    event = event or #published + 2
    edited, published[event] = edit:match('^(%d+) (.*)$')
    published[event - 1] = 'event'
  end
  if event then
    local added = {
      attempts = ARGV[1] == '1' and details.attempts or '0',
      origin = details.origin or id,
      failed = details.failed,
      replays = (details.replays or 0) + 1,
      edited = edited,
    }
    redis.call('XADD', KEYS[3], '*', unpack(join_fields(published, added)))
    redis.call('XDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    moved[#moved + 1] = id
  end
end
return moved
