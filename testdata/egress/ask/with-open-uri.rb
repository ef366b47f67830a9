# Gets each URL that a line of the standard input has, and says when that is over, whatever came of it.
require "open-uri"
require "openssl"

$stdout.sync = true
$stdin.each_line do |line|
  begin
    URI(line.strip).open(open_timeout: 3, read_timeout: 3)
  rescue SystemCallError, IOError, SocketError, Timeout::Error, Net::ProtocolError, OpenURI::HTTPError,
         OpenSSL::SSL::SSLError
  end
  puts "over"
end
