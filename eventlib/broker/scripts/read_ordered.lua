-- Read new entries so that those of one key are handed out one at a time, in the order of the stream. What is not the
-- head of its lane is parked and acknowledged. An entry without a key is handed out at once.
-- KEYS  stream, retry, delayed, key_queue_heads, key_queues
-- ARGV  group, consumer, field of the data that is the key, count
-- Returns whether there may be more; the ids up to which stream and retry are read ('' where there may be more);
-- {1 for stream or 2 for retry, id, fields and values} for each entry handed out, up to count of each source.
local heads, lanes, retry = KEYS[4], KEYS[5], KEYS[2]
local group, consumer, field, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local looks_max = math.max(count, 256) -- others want the server too

local function key_in(event)
  return cjson.decode(event).data[field]
end

-- Whatever its JSON parser rounds or refuses, one key never has two lanes; two keys may share one.
local function lane_of(event)
  local read, key = pcall(key_in, event)
  local kind = read and type(key)
  if kind == 'number' then
    key = ('%.17g'):format(key)
  elseif kind == 'boolean' then
    key = tostring(key)
  elseif kind ~= 'string' then -- none, null, a list or an object
    return nil
  end
  local lane = kind:sub(1, 1) .. key
  return #lane <= 64 and lane:match('^[%w_.:@-]+$') or '#' .. redis.sha1hex(lane)
end

local function done(source, id)
  redis.call('XACK', KEYS[source], group, id)
  if source == 2 then redis.call('XDEL', retry, id) end
end

-- May the consumer have the entry? Else it is parked.
local function is_handed_out(source, id, fields)
  local theirs, ours = parted(fields, source == 2)
  local origin, at_event = ours.origin or id, place_of(theirs, 'event')
  local event = at_event and theirs[at_event]
  local here = where(source == 2, id)
  local at, lane = find_head(heads, origin)
  if at then
    if at ~= here and is_alive(KEYS[1], retry, KEYS[3], group, origin, at) then
      done(source, id) -- a copy of a head: the group was made anew
      return false
    end
    put_head(heads, lane, origin, here)
    return true
  end
  lane = event and origin:match('^%d+-%d+$') and lane_of(event)
  if not lane then return true end
  local busy = redis.call('HEXISTS', heads, 'lane ' .. lane) == 1
  if not busy and not first_parked(lanes, lane) then
    put_head(heads, lane, origin, here)
    return true
  end
  ours.attempts, ours.origin = ours.attempts or '0', origin
  park(lanes, lane, origin, joined(theirs, ours))
  done(source, id)
  if not busy then go_on(heads, lanes, retry, lane) end -- its head was deleted
  return false
end

local handed_out, more = {}, false
for _, source in ipairs({2, 1}) do
  local room, looks, asked, entries = count, 0, nil, nil
  repeat
    asked = math.min(room, looks_max - looks)
    local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', asked, 'STREAMS', KEYS[source], '>')
    entries = reply and reply[1][2] or {}
    for _, entry in ipairs(entries) do
      if is_handed_out(source, entry[1], entry[2]) then
        room = room - 1
        handed_out[#handed_out + 1] = {source, entry[1], entry[2]}
      end
    end
    looks = looks + #entries
  until #entries < asked or room == 0 or looks == looks_max
  more = more or #entries == asked
end
if more then return {1, '', '', handed_out} end
return {0, last_delivered(KEYS[1], group), last_delivered(retry, group), handed_out}
