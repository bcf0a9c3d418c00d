-- A page of the dead-letter queue, oldest first. It holds at least one dead letter if there is one, and ends after
-- `bytes`.
-- KEYS  dead_letters, edits     ARGV  from, to, count, bytes
-- Returns for each dead letter: id, fields and values (those in raw.packed as raw.NAME), and its edit ("ms event", ''
-- for none).
local page, size, from = {}, 0, ARGV[1]
local edited = redis.call('EXISTS', KEYS[2]) == 1
while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local dead_letter = redis.call('XRANGE', KEYS[1], from, ARGV[2], 'COUNT', 1)[1]
  if not dead_letter then break end
  local fields = {}
  for i = 1, #dead_letter[2], 2 do
    local name, value = dead_letter[2][i], dead_letter[2][i + 1]
    size = size + #value
    if name == 'raw.packed' then
      for j, part in ipairs(cmsgpack.unpack(value)) do
        fields[#fields + 1] = j % 2 == 1 and 'raw.' .. part or part
      end
    else
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  local edit = edited and redis.call('HGET', KEYS[2], dead_letter[1]) or ''
  size = size + #edit
  page[#page + 1] = {dead_letter[1], fields, edit}
  from = '(' .. dead_letter[1]
end
return page
