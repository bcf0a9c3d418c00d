-- A page of the dead-letter queue, oldest first: at least one letter if there is one, no more once `bytes` are reached.
-- KEYS  dead_letters, edits     ARGV  from, to, count, bytes
-- Returns for each letter: id, fields and values (raw.packed spread out), and the edit ("ms event", '' for none).
local page, size, from = {}, 0, ARGV[1]
local edited = redis.call('EXISTS', KEYS[2]) == 1
while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local letter = redis.call('XRANGE', KEYS[1], from, ARGV[2], 'COUNT', 1)[1]
  if not letter then break end
  local fields = {}
  for i = 1, #letter[2], 2 do
    local name, value = letter[2][i], letter[2][i + 1]
    size = size + #value
    if name == 'raw.packed' then
      for j, part in ipairs(cmsgpack.unpack(value)) do
        fields[#fields + 1] = j % 2 == 1 and 'raw.' .. part or part
      end
    else
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  local edit = edited and redis.call('HGET', KEYS[2], letter[1]) or ''
  size = size + #edit
  page[#page + 1] = {letter[1], fields, edit}
  from = '(' .. letter[1]
end
return page
